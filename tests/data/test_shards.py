"""Parts of the patients."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from vitad_med.data.case import Case
from vitad_med.data.shards import parse_shard_name, shard_name, shard_of
from vitad_med.errors import ConfigError, DataError

# Patient p has p % 3 + 1 images, and they do not stand together.
CASES = [
    Case(f"{patient}_{image}", f"{patient:02d}", Path("x.png"), "test", "train", label=0)
    for image in range(3)
    for patient in range(11)
    if image <= patient % 3
]


@pytest.mark.parametrize("parts", [1, 2, 3, 4, 11])
def test_the_parts_are_everybody_once(parts: int) -> None:
    found = [shard_of(CASES, f"{number}/{parts}") for number in range(1, parts + 1)]
    assert sorted((case for part in found for case in part), key=CASES.index) == CASES
    patients = [{case.patient_id for case in part} for part in found]
    assert sum(map(len, patients)) == 11
    assert max(map(len, patients)) - min(map(len, patients)) <= 1
    assert shard_of(CASES, f"1/{parts}") == [case for case in CASES if case.patient_id in patients[0]]


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1/0", "1", "1/2/3", "-1/2", "a/b", ""])
def test_what_is_no_part_is_refused(shard: str) -> None:
    with pytest.raises(ConfigError, match=r"shard is.*K/N"):
        shard_of(CASES, shard)


def test_more_parts_than_patients() -> None:
    with pytest.raises(DataError, match="11 patients make no 12 parts"):
        shard_of(CASES, "1/12")


def test_the_name_of_a_part_tells_the_whole_list_wherever_it_lies() -> None:
    name = shard_name(CASES, "2/4")
    moved = [replace(case, image_path=Path("elsewhere") / "x.png") for case in reversed(CASES)]
    assert shard_name(moved, "2/4") == name
    assert parse_shard_name(name)[:2] == (2, 4)
    assert parse_shard_name(shard_name(CASES, "1/3"))[2] == parse_shard_name(name)[2]
    assert shard_name(CASES[1:], "2/4") != name
    with pytest.raises(ConfigError, match=r"shard is.*K/N"):
        shard_name(CASES, "5/4")


@pytest.mark.parametrize(
    "name", ["", "1/2", f"3/2 {'a' * 64}", f"0/2 {'a' * 64}", f"1/2 {'A' * 64}", f"1/2 {'a' * 63}"]
)
def test_other_texts_name_no_part(name: str) -> None:
    with pytest.raises(DataError, match="names no part"):
        parse_shard_name(name)
