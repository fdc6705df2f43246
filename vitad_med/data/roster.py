"""Patients of a set of images under names that may be stored, so that two sets can be proved to share nobody."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Collection, Sequence

from vitad_med.data.case import Case
from vitad_med.data.registry import PUBLIC_SOURCES

PUBLIC = "public"
UNKEYED = "unkeyed"

# Stands in for a key that the site did not give: names under it agree inside this process and nowhere else.
_OF_THIS_PROCESS = secrets.token_bytes(32)


def keyed_name(text: str, key: bytes) -> str:
    """The first 16 hexadecimal digits of HMAC-SHA256: nobody without the key can try texts out."""
    return hmac.new(key, text.encode("utf-8"), hashlib.sha256).hexdigest()[:16]


def is_public(cases: Sequence[Case]) -> bool:
    """Whether every case comes from a published data set."""
    return all(case.source in PUBLIC_SOURCES for case in cases)


def patient_names(cases: Sequence[Case], key: bytes | None) -> list[str]:
    """Name of each case's patient, 16 hexadecimal digits; the same patient has the same name.

    Args:
        cases: in the order of the result.
        key: the site's secret. Patients of data sets that are not public get the names that
            :func:`vitad_med.predictions.identifiers.public_names` gives them under it. Without it their names differ in
            every process: they compare lists made side by side, and must not be stored.
    """
    return [_name(case, key or _OF_THIS_PROCESS) for case in cases]


def patient_keys(cases: Sequence[Case], key: bytes | None) -> frozenset[str]:
    """The patients as they may be stored: all of them, or none where some can be named by no key.

    A hash without a key would not do for a hospital's patients: its numbers are few enough to be tried out.
    """
    return frozenset() if UNKEYED in naming(cases, key) else frozenset(patient_names(cases, key))


def naming(cases: Sequence[Case], key: bytes | None) -> tuple[str, ...]:
    """How :func:`patient_names` names the patients: ``public``, ``keyed:`` and a check of the key, ``unkeyed``; sorted.

    The check is 8 digits of a keyed hash: equal for equal keys, and no help in finding the key.
    """
    kinds = set()
    if any(case.source in PUBLIC_SOURCES for case in cases):
        kinds.add(PUBLIC)
    if not is_public(cases):
        kinds.add(f"keyed:{keyed_name('vitad_med patient roster', key)[:8]}" if key else UNKEYED)
    return tuple(sorted(kinds))


def recognises(roster: Collection[str], others: Collection[str]) -> bool:
    """Whether a patient of a roster would be found among patients that are named in other ways.

    A published data set and a hospital's own count as different people.

    Args:
        roster: :func:`naming` of the patients that are known.
        others: :func:`naming` of those who are looked up.
    """
    known, asked = set(roster) - {PUBLIC}, set(others) - {PUBLIC}
    return not known or not asked or (known == asked and UNKEYED not in known)


def _name(case: Case, key: bytes) -> str:
    if case.source in PUBLIC_SOURCES:
        return hashlib.sha256(f"{case.source}:patient:{case.patient_id}".encode()).hexdigest()[:16]
    return keyed_name(f"patient:{case.patient_id}", key)
