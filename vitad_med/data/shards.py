"""A part of the patients, for work that is shared out among machines and merged afterwards."""

from __future__ import annotations

import re
from collections.abc import Sequence

from vitad_med.data.case import Case
from vitad_med.errors import ConfigError, DataError


def shard_of(cases: Sequence[Case], shard: str) -> list[Case]:
    """The cases of one of several parts of the patients; the parts are disjoint and together everybody.

    Args:
        cases: in the order of the result.
        shard: ``K/N``: the K-th of N parts, e.g. ``2/4`` for the second quarter of the sorted patients; ``1/1`` is all.

    Raises:
        ConfigError: ``shard`` is not of this form.
        DataError: there are fewer patients than parts.
    """
    found = re.fullmatch(r"(\d+)/(\d+)", shard)
    number, parts = (int(found.group(1)), int(found.group(2))) if found else (0, 0)
    if not 1 <= number <= parts:
        raise ConfigError(f"shard is {shard!r}, but must be K/N with K from 1 to N, e.g. '2/4' for the second quarter")
    patients = sorted({case.patient_id for case in cases})
    if parts > len(patients):
        raise DataError(f"shard {shard!r}: {len(patients)} patients make no {parts} parts; give fewer parts")
    low, high = ((len(patients) * edge) // parts for edge in (number - 1, number))
    chosen = set(patients[low:high])
    return [case for case in cases if case.patient_id in chosen]
