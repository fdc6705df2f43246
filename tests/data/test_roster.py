"""Names of patients that may be stored, and what they can and cannot tell."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from vitad_med.data.case import Case
from vitad_med.data.roster import naming, patient_keys, patient_names, recognises
from vitad_med.predictions.identifiers import public_names

KEY, OTHER = b"k" * 32, b"o" * 32


def case(patient: str, source: str = "image_folder", image: int = 0) -> Case:
    return Case(f"{patient}/{image}", patient, Path(f"{patient}_{image}.png"), source, "train", label=0)


WARD = [case("JONES", image=0), case("JONES", image=1), case("SMITH")]
NIH = [case("00000013", "nih_chestxray14"), case("00000014", "nih_chestxray14")]


def test_a_hospitals_patient_has_the_name_of_its_predictions() -> None:
    _, patients = public_names(WARD, "hashed", KEY)
    assert patient_names(WARD, KEY) == patients
    assert patient_keys(WARD, KEY) == set(patients)
    assert len(patient_keys(WARD, KEY)) == 2
    assert not patient_keys(WARD, KEY) & patient_keys(WARD, OTHER)


def test_a_published_patient_needs_no_key_and_no_other_source_has_it() -> None:
    expected = hashlib.sha256(b"nih_chestxray14:patient:00000013").hexdigest()[:16]
    assert patient_names(NIH, None)[0] == patient_names(NIH, KEY)[0] == expected
    assert not patient_keys(NIH, None) & patient_keys([case("00000013", "mvtec")], None)


def test_without_a_key_nothing_is_stored_but_lists_can_be_compared() -> None:
    assert patient_keys(WARD, None) == patient_keys(NIH + WARD, None) == frozenset()
    first, second, third = patient_names(WARD, None)
    assert first == second != third
    # A plain hash of a hospital's number could be tried out.
    assert first != hashlib.sha256(b"patient:JONES").hexdigest()[:16]
    assert first != hashlib.sha256(b"image_folder:patient:JONES").hexdigest()[:16]


def test_the_naming_says_which_key() -> None:
    assert naming(NIH, None) == ("public",)
    assert naming(WARD, None) == ("unkeyed",)
    [keyed] = naming(WARD, KEY)
    assert keyed.startswith("keyed:")
    assert naming(WARD, KEY) != naming(WARD, OTHER)
    assert naming(NIH + WARD, KEY) == (keyed, "public")


@pytest.mark.parametrize(
    ("roster", "others", "expected"),
    [
        ((NIH, None), (NIH, None), True),
        ((WARD, KEY), (WARD, KEY), True),
        ((WARD, KEY), (NIH, None), True),
        ((NIH, None), (WARD, None), True),
        ((WARD, KEY), (WARD, OTHER), False),
        ((WARD, KEY), (WARD, None), False),
        ((WARD, None), (WARD, KEY), False),
        ((WARD, None), (WARD, None), False),
    ],
)
def test_whether_a_patient_would_be_found(roster: tuple, others: tuple, expected: bool) -> None:
    assert recognises(naming(*roster), naming(*others)) is expected
