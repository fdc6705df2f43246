"""Markdown from templates, where no text of the data can break a table or add markup."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from vitad_med.reporting.document.wording import NOT_RECORDED

_MARKUP = re.compile(r"[\\`*\[\]<>|~#&$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")


def escape(value: Any) -> str:
    """Text of a value on one line, with every character that Markdown or HTML would act on made harmless.

    None becomes ``not recorded``. Underscores inside a word stay as they are.
    """
    if value is None:
        return NOT_RECORDED
    line = " ".join(str(value).split())
    return _MARKUP.sub(lambda match: "&lt;" if match[0] == "<" else "\\" + match[0], line)


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("vitad_med.reporting.texts"),
        undefined=StrictUndefined,
        finalize=escape,
        autoescape=False,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def render(template: str, **values: Any) -> str:
    """Fill a template of ``vitad_med/reporting/texts/templates``; every value that it prints is escaped."""
    return _environment().get_template(template).render(**values)
