"""Names of images and patients as they may leave the site, and cells that no spreadsheet runs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from vitad_med.data.case import Case
from vitad_med.data.roster import is_public, keyed_name
from vitad_med.errors import ConfigError

Identifiers = Literal["clear", "hashed"]
SHORTEST_KEY = 16  # bytes

# The last four are the full-width forms. An apostrophe in front counts, so that `plain_cell` undoes exactly one.
_FORMULA = re.compile("'*\\s*[=+\\-@\uff1d\uff0b\uff0d\uff20]")


def default_identifiers(cases: Sequence[Case]) -> Identifiers:
    """``clear`` where every case comes from a published data set, else ``hashed``."""
    return "clear" if is_public(cases) else "hashed"


def public_names(cases: Sequence[Case], identifiers: Identifiers, key: bytes | None) -> tuple[list[str], list[str]]:
    """Case and patient identifiers as they may leave the site.

    Hashed identifiers are the first 16 hexadecimal digits of HMAC-SHA256 under the site's key: the same patient keeps
    the same name from run to run, and nobody without the key can try identifiers out.

    Returns:
        Names of the cases and of their patients, both of length N.

    Raises:
        ConfigError: ``hashed`` without a key, or a value that is neither.
    """
    if identifiers == "clear":
        return [case.case_id for case in cases], [case.patient_id for case in cases]
    if identifiers != "hashed":
        raise ConfigError(f"identifiers is '{identifiers}'; choose 'clear' or 'hashed'.")
    if not key:
        raise ConfigError(
            "images of patients are named by keyed hashes: give --identifier_key_file, a file with a secret of your "
            "own (e.g. `openssl rand -hex 32 > site.key`), or --identifiers clear where the names are public"
        )
    return (
        [keyed_name(f"case:{case.case_id}", key) for case in cases],
        [keyed_name(f"patient:{case.patient_id}", key) for case in cases],
    )


def case_names(
    cases: Sequence[Case], identifiers: Identifiers | None, identifier_key_file: str | Path | None
) -> list[str]:
    """Names of the cases by the keys of a config: ``identifiers``, None for the default, and the file of the secret.

    Raises:
        ConfigError: hashed names without a key, or one that can be guessed.
    """
    naming = identifiers or default_identifiers(cases)
    return public_names(cases, naming, read_identifier_key(identifier_key_file))[0]


def read_identifier_key(path: str | Path | None) -> bytes | None:
    """The secret of hashed identifiers from a file of the site's own; None where no file is named.

    Raises:
        ConfigError: the file cannot be read, or its secret can be guessed.
    """
    if path is None:
        return None
    try:
        key = Path(path).expanduser().read_bytes().strip()
    except OSError as error:
        raise ConfigError(f"identifier_key_file '{path}' cannot be read: {error.strerror}") from error
    if len(key) < SHORTEST_KEY:
        raise ConfigError(
            f"identifier_key_file '{path}' holds {len(key)} bytes, which can be guessed; give at least {SHORTEST_KEY}, "
            "e.g. `openssl rand -hex 32 > site.key`"
        )
    return key


def safe_cell(text: str) -> str:
    """Text that no spreadsheet runs: a cell that would start a formula is preceded by an apostrophe.

    Tabs, line ends and other control characters become spaces, so that a row stays one line.
    """
    line = "".join(" " if ord(character) < 32 else character for character in text)
    return f"'{line}" if _FORMULA.match(line) else line


def plain_cell(text: str) -> str:
    """The text of a cell that ``safe_cell`` wrote: the apostrophe that it put before a formula is taken away."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text
