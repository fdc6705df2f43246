"""Parts of a data set that share nobody pass; any way in which they may share somebody is named."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from vitad_med.data.disjoint import check_disjoint
from vitad_med.errors import DataError

LIST, OTHER_LIST = "e" * 64, "f" * 64


@dataclass(frozen=True)
class Made:
    data_digests: tuple[str, ...]
    patients: frozenset[str] = frozenset()
    naming: tuple[str, ...] = ("public",)
    shards: tuple[str, ...] = ()


def test_parts_of_different_patients_pass() -> None:
    parts = [Made(("a",), frozenset({"p1"})), Made(("b",), frozenset({"p2", "p3"})), Made(("c",), frozenset())]
    assert check_disjoint(parts, "fit", "fits") == {"p1", "p2", "p3"}
    shards = [Made((d,), naming=("unkeyed",), shards=(f"{n}/2 {LIST}",)) for n, d in ((1, "a"), (2, "b"))]
    assert check_disjoint(shards, "fit", "fits") == frozenset()


@pytest.mark.parametrize(
    ("one", "two", "message"),
    [
        (Made(("a", "b")), Made(("b",)), r"the images 'b' are in two of the fits: name each part once"),
        (
            Made(("a",), frozenset({"p1", "p2"})),
            Made(("b",), frozenset({"p2"})),
            "1 patients of fit 2 are in an earlier one too",
        ),
        (
            Made(("a",), naming=("unkeyed",)),
            Made(("b",), naming=("unkeyed",)),
            "fits 1 and 2 name their patients in no",
        ),
        (
            Made(("a",), shards=(f"1/2 {LIST}",)),
            Made(("b",), shards=(f"2/3 {LIST}",)),
            "fits 1 and 2 are shards 1/2 and 2/3 of the same images",
        ),
        (
            Made(("a",), naming=("unkeyed",), shards=(f"1/2 {LIST}",)),
            Made(("b",), naming=("unkeyed",), shards=(f"2/2 {OTHER_LIST}",)),
            "fits 1 and 2 are of different lists of images",
        ),
    ],
)
def test_what_may_be_shared_is_refused(one: Made, two: Made, message: str) -> None:
    with pytest.raises(DataError, match=message):
        check_disjoint([one, two], "fit", "fits")
