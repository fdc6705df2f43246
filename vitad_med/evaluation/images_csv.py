"""``images.csv``: one row an image, with its cohort columns, its score and its own localization figures."""

from __future__ import annotations

import csv
import hashlib
import hmac
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from vitad_med.data.case import Case
from vitad_med.data.registry import PUBLIC_SOURCES
from vitad_med.errors import ConfigError
from vitad_med.evaluation.files import write_text
from vitad_med.metrics.metadata import age_band

Identifiers = Literal["clear", "hashed"]
SHORTEST_KEY = 16  # bytes

COLUMNS = (
    "case_id",
    "patient_id",
    "source",
    "group",
    "split",
    "label",
    "sex",
    "view",
    "age",
    "age_band",
    "findings",
    "score",
    "localized",
    "pixel_auroc",
    "pointing_hit",
)

_FORMULA_STARTS = tuple("=+-@\uff1d\uff0b\uff0d\uff20")  # the last four are the full-width forms


def default_identifiers(cases: Sequence[Case]) -> Identifiers:
    """``clear`` where every case comes from a published data set, else ``hashed``."""
    return "clear" if all(case.source in PUBLIC_SOURCES for case in cases) else "hashed"


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
        [_hashed(f"case:{case.case_id}", key) for case in cases],
        [_hashed(f"patient:{case.patient_id}", key) for case in cases],
    )


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


def write_images_csv(
    path: str | Path,
    cases: Sequence[Case],
    scores: np.ndarray,
    *,
    pixel_auroc: np.ndarray,
    pointing_hit: np.ndarray,
    identifiers: Identifiers = "hashed",
    identifier_key: bytes | None = None,
) -> None:
    """Write the table, rows in the order of ``cases``.

    Args:
        path: file to write.
        cases: N cases.
        scores: float [N].
        pixel_auroc: float [number of localized cases], each image's own AUROC, in the order of the localized cases.
        pointing_hit: float [number of localized cases], 0..1.
        identifiers: ``clear`` or ``hashed``.
        identifier_key: secret of ``hashed``.

    Raises:
        ConfigError: see ``public_names``.
        StorageError: the file cannot be written.
    """
    case_names, patient_names = public_names(cases, identifiers, identifier_key)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    localized_index = 0
    for index, case in enumerate(cases):
        figures = ["", ""]
        if case.localized:
            figures = [_number(pixel_auroc[localized_index]), _number(pointing_hit[localized_index])]
            localized_index += 1
        writer.writerow(
            [
                safe_cell(case_names[index]),
                safe_cell(patient_names[index]),
                safe_cell(case.source),
                safe_cell(case.group),
                case.split,
                case.label,
                safe_cell(case.sex),
                safe_cell(case.view),
                "" if case.age is None else _number(case.age),
                safe_cell(age_band(case.age)),
                safe_cell("|".join(case.findings)),
                _number(scores[index]),
                int(case.localized),
                *figures,
            ]
        )
    write_text(path, stream.getvalue())


def safe_cell(text: str) -> str:
    """Text that no spreadsheet runs: a cell that would start a formula is preceded by an apostrophe.

    Tabs, line ends and other control characters become spaces, so that a row stays one line.
    """
    line = "".join(" " if ord(character) < 32 else character for character in text)
    return f"'{line}" if line.lstrip().startswith(_FORMULA_STARTS) else line


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{float(value):.7g}"


def _hashed(text: str, key: bytes) -> str:
    return hmac.new(key, text.encode("utf-8"), hashlib.sha256).hexdigest()[:16]
