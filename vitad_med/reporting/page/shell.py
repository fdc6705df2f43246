"""What every page has: style sheet, scripts, templates, and a policy that lets nothing leave it."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from vitad_med.reporting.page.charts.canvas import Styles
from vitad_med.reporting.page.thumbnails import heat_palette

TEMPLATES = Path(__file__).with_name("templates")

_STYLE_SHEETS = ("page.css", "charts.css", "worklist.css", "print.css")
_SCRIPTS = ("theme.js", "table.js", "picture.js", "worklist.js")


def fill(template: str, context: dict[str, Any], styles: Styles, in_files: bool) -> str:
    """A page from its template.

    Args:
        template: file name of the template.
        context: what it shows.
        styles: of the charts in the context.
        in_files: pictures lie in files beside the page instead of inside it.
    """
    css = Markup(_style_sheet(styles))
    script = Markup("\n".join(_asset(name) for name in _SCRIPTS))
    return (
        _environment()
        .get_template(template)
        .render(**context, css=css, script=script, policy=_policy(css, script, in_files))
    )


def _style_sheet(styles: Styles) -> str:
    dark = _asset("dark.css")
    return "\n".join(
        [
            _asset("light.css"),
            f":root {{ --heat-scale: {_heat_scale()}; }}",
            # On screen only: paper is white whatever the reader's screen is.
            f"@media screen and (prefers-color-scheme: dark) {{ :root:not([data-theme=light]) {{ {dark} }} }}",
            f"@media screen {{ :root[data-theme=dark] {{ {dark} }} }}",
            *(_asset(name) for name in _STYLE_SHEETS),
            styles.css(),
        ]
    )


def _heat_scale() -> str:
    """The colours of the heat maps as a CSS gradient, opaque."""
    stops = ", ".join(f"rgb({red} {green} {blue})" for red, green, blue, _ in heat_palette()[::9].tolist())
    return f"linear-gradient(to right, {stops})"


def _policy(css: str, script: str, in_files: bool) -> str:
    """Content-Security-Policy: no network, no script and no style but the page's own, named by their hashes."""
    pictures = "data: 'self' file:" if in_files else "data:"
    return (
        f"default-src 'none'; img-src {pictures}; style-src '{_hash(css)}'; script-src '{_hash(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode("ascii")


def _asset(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8").strip()


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
