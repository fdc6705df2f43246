"""Patient-level hold-out and digests."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitad_med.data.case import Box, Case
from vitad_med.data.splits import data_digest, hold_out_patients, patients_in_several_splits, split_digest
from vitad_med.errors import ConfigError, DataError


def make_case(patient: int, image: int = 0, **values: object) -> Case:
    base = Case(f"{patient:03d}_{image}", f"{patient:03d}", Path(f"{patient}_{image}.png"), "test", "train", label=0)
    return replace(base, **values)  # type: ignore[arg-type]


@given(
    images=st.lists(st.integers(1, 4), min_size=2, max_size=30), fraction=st.floats(0.01, 0.6), seed=st.integers(0, 99)
)
def test_hold_out_keeps_patients_whole(images: list[int], fraction: float, seed: int) -> None:
    cases = [make_case(patient, image) for patient, count in enumerate(images) for image in range(count)]
    count = max(1, round(fraction * len(images)))
    if count == len(images):
        return
    kept, held = hold_out_patients(cases, fraction, seed)
    assert sorted(kept + held, key=lambda case: case.case_id) == cases
    assert len({case.patient_id for case in held}) == count
    assert not {case.patient_id for case in held} & {case.patient_id for case in kept}
    again_kept, again_held = hold_out_patients(cases[::-1], fraction, seed)
    assert (again_kept[::-1], again_held[::-1]) == (kept, held)


def test_seed_and_fraction() -> None:
    cases = [make_case(patient) for patient in range(100)]
    held = [{case.patient_id for case in hold_out_patients(cases, 0.1, seed)[1]} for seed in range(5)]
    assert len({frozenset(ids) for ids in held}) == 5
    larger = {case.patient_id for case in hold_out_patients(cases, 0.3, 0)[1]}
    assert held[0] < larger  # a larger fraction adds patients and swaps none
    assert hold_out_patients(cases, 0.0, 0) == (cases, [])
    with pytest.raises(ConfigError, match="val_fraction"):
        hold_out_patients(cases, 1.0, 0)
    with pytest.raises(DataError, match="leaves no patient"):
        hold_out_patients(cases[:1], 0.1, 0)


def test_the_choice_is_the_same_in_every_release() -> None:
    """The documented rule, computed independently: the patients with the smallest SHA-256 of seed and id."""
    cases = [make_case(patient) for patient in range(20)]
    ranked = sorted(cases, key=lambda case: hashlib.sha256(f"7:{case.patient_id}".encode()).hexdigest())
    assert set(hold_out_patients(cases, 0.2, 7)[1]) == set(ranked[:4])


def test_patients_in_several_splits() -> None:
    cases = [make_case(1), make_case(2), make_case(2, 1, split="test"), make_case(3, split="test")]
    assert patients_in_several_splits(cases) == ["002"]


def test_split_digest_sees_membership_and_label_only() -> None:
    cases = [make_case(1), make_case(2, split="test", label=1)]
    digest = split_digest(cases)
    assert digest == hashlib.sha256(b"test\t002_0\t002\t1\ntrain\t001_0\t001\t0\n").hexdigest()
    assert split_digest(cases[::-1]) == digest
    assert split_digest([replace(cases[0], image_path=Path("elsewhere.png"), sex="M"), cases[1]]) == digest
    for change in ({"split": "val"}, {"label": 1}, {"patient_id": "009"}, {"case_id": "x"}):
        assert split_digest([replace(cases[0], **change), cases[1]]) != digest


def test_data_digest_sees_content_and_truth_but_no_path(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "1.png").write_bytes(b"pixels")
    case = make_case(1, image_path=tmp_path / "a" / "1.png", boxes=(Box(0.1, 0.1, 0.2, 0.2),))
    digest = data_digest([case])
    assert data_digest([replace(case, image_path=tmp_path / "b" / "1.png")]) == digest
    assert data_digest([replace(case, boxes=(Box(0.1, 0.1, 0.2, 0.3),))]) != digest
    assert data_digest([replace(case, mask_path=tmp_path / "b" / "1.png")]) != digest
    (tmp_path / "a" / "1.png").write_bytes(b"pixelz")
    assert data_digest([case]) != digest
    with pytest.raises(DataError, match="absent"):
        data_digest([replace(case, image_path=tmp_path / "absent.png")])
