"""The projection of a radiograph from the three places where devices write it."""

from __future__ import annotations

import re
from typing import Literal

from vitad_med.data.dicom.codes import ANTERO_POSTERIOR, LATERAL_CODES, LATERAL_POSITIONS, POSTERO_ANTERIOR
from vitad_med.data.dicom.header import Header

View = Literal["PA", "AP", "lateral", "unknown"]

# Words of free descriptions: English, German, French, Spanish, Italian, Japanese; a number may touch them ("LAT2").
_LATERAL = re.compile(r"(?<![a-z])(lat|lateral[a-z]*|ll|seitl[a-z]*|profil|perfil)(?![a-z])|側面", re.I)
_PA = re.compile(r"(?<![a-z])(p\.?a\.?|postero-?anterior)(?![a-z])", re.I)
_AP = re.compile(r"(?<![a-z])(a\.?p\.?|antero-?posterior)(?![a-z])", re.I)


def view_of(header: Header) -> View:
    """``PA``, ``AP``, ``lateral`` or ``unknown``.

    ViewPosition counts first, then ViewCodeSequence, then the descriptions of the series; a description that names more
    than one projection is of several images and says nothing about this one.
    """
    if header.view_position in ("PA", "AP"):
        return "PA" if header.view_position == "PA" else "AP"
    if header.view_position in LATERAL_POSITIONS:
        return "lateral"
    if not header.view_position:
        for codes, view in _CODES:
            if codes.intersection(header.views):
                return view
        if not header.views:
            return _described(" ".join(header.descriptions))
    return "unknown"


_CODES: tuple[tuple[frozenset[str], View], ...] = (
    (LATERAL_CODES, "lateral"),
    (POSTERO_ANTERIOR, "PA"),
    (ANTERO_POSTERIOR, "AP"),
)


def _described(text: str) -> View:
    named: list[View] = []
    if _LATERAL.search(text):
        named.append("lateral")
    if _PA.search(text):
        named.append("PA")
    if _AP.search(text):
        named.append("AP")
    return named[0] if len(named) == 1 else "unknown"
