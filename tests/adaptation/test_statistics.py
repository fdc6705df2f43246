"""The file of source statistics: whole, the same bytes each time, and refused wherever it does not fit."""

from __future__ import annotations

import hashlib
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from safetensors.torch import save_file as save_safetensors_file

from vitad_med.adaptation.entropy_moments import EntropyMoments
from vitad_med.adaptation.statistics import SourceStatistics, read_statistics, write_statistics
from vitad_med.adaptation.statistics_merge import merge_statistics
from vitad_med.digests import config_digest, state_digest
from vitad_med.errors import ConfigError, DataError, VitadError, WeightsError

ENTROPY = 5.2 + 0.1 * torch.randn(40, 6, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(40) % 2
PIPELINE = {"image_size": 32, "channels": 1, "architecture": "vit_tiny_patch16_224", "amp": False}


def make(rows: slice = slice(None), **changes: Any) -> SourceStatistics:
    """Statistics of some of the 40 images."""
    moments = EntropyMoments.of(ENTROPY[rows], LABELS[rows])
    values: dict[str, Any] = {
        "mean": moments.mean,
        "squares": moments.squares,
        "count": moments.count,
        "grid": (2, 3),
        "image_size": 32,
        "model_digest": "a" * 64,
        "pipeline": PIPELINE,
        "renormalise_rows": True,
        "views": "full_frame",
        "multicrop": None,
        "synthesis": "AttnSynth(location='proportional')",
        "scorer_digest": "b" * 64,
        "seed": 0,
        "data_digests": (config_digest({"rows": str(rows)}),),
        "patients": frozenset({f"{index:016x}" for index in range(40)[rows]}),
        "naming": ("public",),
    }
    return SourceStatistics(**{**values, **changes})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "folder" / "statistics.safetensors"
    write_statistics(path, make())
    return path


def test_it_reads_back(path: Path) -> None:
    written = make(shards=(f"1/2 {'e' * 64}",))
    write_statistics(path, written)
    found = read_statistics(path)
    for field in fields(SourceStatistics):
        one, two = getattr(found, field.name), getattr(written, field.name)
        assert torch.equal(one, two) if isinstance(one, torch.Tensor) else one == two, field.name
    assert found.pipeline_digest == config_digest(PIPELINE)
    assert found.patients_known
    assert not make(naming=("unkeyed",)).patients_known


def test_the_same_content_is_the_same_bytes(path: Path) -> None:
    first = path.read_bytes()
    for _ in range(8):  # the library orders metadata at random
        write_statistics(path, make(pipeline=dict(reversed(PIPELINE.items()))))
        assert path.read_bytes() == first
    assert make().digest == hashlib.sha256(first).hexdigest()
    assert read_statistics(path).digest == make().digest
    assert make(seed=1).digest != make().digest
    assert set(load_file(path)) == {"mean", "squares", "count"}


@pytest.mark.parametrize("rows", [[slice(0, 20), slice(20, 40)], [slice(30, 40), slice(0, 7), slice(7, 30)]])
def test_the_parts_merged_are_the_whole(rows: list[slice]) -> None:
    merged, whole = merge_statistics([make(part) for part in rows]), make()
    assert torch.equal(merged.count, whole.count)
    torch.testing.assert_close(merged.mean, whole.mean, rtol=0, atol=1e-12)
    torch.testing.assert_close(merged.squares, whole.squares, rtol=0, atol=1e-12)
    assert merged.patients == whole.patients
    assert merged.data_digests == tuple(sorted(make(part).data_digests[0] for part in rows))
    assert merge_statistics([merged]).digest == merged.digest


def test_merging_does_not_hide_that_patients_are_not_known() -> None:
    unknown = make(slice(20, 40), patients=frozenset(), naming=("unkeyed",))
    merged = merge_statistics([make(slice(0, 20)), unknown])
    assert not merged.patients_known
    assert merged.patients == make(slice(0, 20)).patients  # what is known still helps to keep people apart


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"model_digest": "c" * 64}, f"model_digest is {'a' * 12} in the one and {'c' * 12} in the other"),
        ({"pipeline": {**PIPELINE, "amp": True}}, "pipeline amp is False in the one and True"),
        ({"pipeline": {**PIPELINE, "extra": 1}}, "pipeline extra is None in the one and 1"),
        ({"image_size": 64}, "image_size is 32 in the one and 64"),
        ({"renormalise_rows": False}, "renormalise_rows is True in the one and False"),
        ({"views": "global", "multicrop": "MultiCrop()"}, "views is 'full_frame' in the one and 'global'"),
        ({"synthesis": "CutPaste()"}, "synthesis is"),
        ({"scorer_digest": "d" * 64}, "scorer_digest is"),
        ({"seed": 1}, "seed is 0 in the one and 1"),
    ],
)
def test_parts_that_differ_are_not_merged(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match="statistics 1 and 3 cannot be merged") as caught:
        merge_statistics([make(slice(0, 10)), make(slice(10, 20)), make(slice(20, 40), **changes)])
    assert named in str(caught.value)


def test_nothing_counts_twice() -> None:
    half = make(slice(0, 20))
    with pytest.raises(DataError, match=f"images {half.data_digests[0][:12]} are in two"):
        merge_statistics([half, make(slice(20, 40)), half])
    with pytest.raises(DataError, match=r"5 patients of statistics 2 are in an earlier one too.*--shard"):
        merge_statistics([half, make(slice(15, 40))])
    merged = merge_statistics([half, make(slice(20, 40))])
    unnamed = {"patients": frozenset[str](), "naming": ("unkeyed",)}
    with pytest.raises(DataError, match="are in two"):  # also where it was merged into another before
        merge_statistics([merged, replace(half, **unnamed)])
    with pytest.raises(DataError, match="no statistics to merge"):
        merge_statistics([])


UNNAMED: dict[str, Any] = {"patients": frozenset[str](), "naming": ("unkeyed",)}
LIST, OTHER = "e" * 64, "f" * 64


def test_shards_of_one_list_are_merged_without_names() -> None:
    parts = [make(slice(10 * k, 10 * k + 10), shards=(f"{k + 1}/4 {LIST}",), **UNNAMED) for k in range(4)]
    merged = merge_statistics([merge_statistics(parts[2:]), merge_statistics(parts[:2])])
    torch.testing.assert_close(merged.mean, make().mean, rtol=0, atol=1e-12)
    assert merged.shards == tuple(f"{k}/4 {LIST}" for k in (1, 2, 3, 4))
    # Still known where it was merged into another before.
    again = make(slice(30, 40), data_digests=("9" * 64,), shards=(f"4/4 {LIST}",), **UNNAMED)
    with pytest.raises(DataError, match="statistics 1 and 2 are shards 4/4 and 4/4 of the same images"):
        merge_statistics([merged, again])


@pytest.mark.parametrize(
    ("first", "second", "named"),
    [
        # Data digests that differ: the same shard after a file was written anew, or another cut of the same list.
        ({"shards": (f"1/2 {LIST}",)}, {"shards": (f"1/2 {LIST}",)}, "1/2 and 1/2 of the same images"),
        ({"shards": (f"1/2 {LIST}",)}, {"shards": (f"2/3 {LIST}",)}, "1/2 and 2/3 of the same images"),
        ({"shards": (f"1/1 {LIST}",)}, {"shards": (f"2/2 {LIST}",)}, "1/1 and 2/2 of the same images"),
        ({"shards": (f"1/2 {LIST}",)}, {"shards": (f"2/2 {OTHER}",)}, "of different lists .*eeee.* and ffff"),
        ({}, {}, "name their patients in no common way, nor which part.*--shard 1/N to N/N.*--identifier_key_file"),
        ({"shards": (f"1/2 {LIST}",)}, {}, "name their patients in no common way, nor which part"),
        ({}, {"naming": ("keyed:12345678",)}, "name their patients in no common way, nor which part"),
        # The same patient has two names under two keys.
        (
            {"naming": ("keyed:12345678",), "shards": (f"1/1 {LIST}",)},
            {"naming": ("keyed:87654321",), "shards": (f"1/1 {OTHER}",)},
            "of different lists .* in no common way",
        ),
    ],
)
def test_parts_that_may_overlap_are_refused(first: dict[str, Any], second: dict[str, Any], named: str) -> None:
    with pytest.raises(DataError, match=named):
        merge_statistics([make(slice(0, 20), **{**UNNAMED, **first}), make(slice(10, 40), **{**UNNAMED, **second})])


def test_parts_that_name_their_patients_need_no_shards() -> None:
    named = [make(slice(0, 20)), make(slice(20, 40), shards=(f"2/2 {LIST}",))]
    assert merge_statistics(named).shards == (f"2/2 {LIST}",)
    # A published data set and a hospital's own have nobody in common.
    merge_statistics([make(slice(0, 20)), make(slice(20, 40), **UNNAMED)])


def test_statistics_of_unknown_parts_are_read_and_keep_their_bytes(path: Path) -> None:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        assert "shards" not in file.metadata()
    assert read_statistics(path).shards == ()
    rewrite(path, shards='["3/2 x"]')
    with pytest.raises(DataError, match="'3/2 x' names no part of a list; make them again"):
        read_statistics(path)


def test_both_second_moments() -> None:
    found = make()
    for label in (0, 1):
        values = ENTROPY[label == LABELS].double()
        torch.testing.assert_close(found.second_moment("unbiased")[label], values.var(dim=0, correction=1))
        torch.testing.assert_close(found.second_moment("literal")[label], values.var(dim=0, correction=0))
    with pytest.raises(ConfigError, match="moment 'biased'"):
        found.second_moment("biased")  # type: ignore[arg-type]


def test_too_few_images_have_no_second_moment() -> None:
    two = make(slice(0, 2))
    assert torch.equal(two.second_moment("literal"), torch.zeros(2, 6, dtype=torch.float64))
    with pytest.raises(DataError, match="1 normal and 1 synthetic images have no unbiased"):
        two.second_moment("unbiased")
    with pytest.raises(DataError, match="no literal"):
        make(slice(0, 1)).second_moment("literal")


@pytest.mark.parametrize(
    ("changes", "kind", "named"),
    [
        ({"model_digest": "c" * 64}, WeightsError, f"another model, {'a' * 12} there and {'c' * 12} here"),
        ({"grid": (14, 14)}, ConfigError, r"2 x 3 patches \(image_size 32\).*14 x 14.*set image_size 32"),
        ({"pipeline": {**PIPELINE, "channels": 3}}, ConfigError, "channels 1, here it is 3"),
        ({"pipeline": {**PIPELINE, "image_size": 64}}, ConfigError, "image_size 32, here it is 64"),
        ({"pipeline": {"channels": 1}}, ConfigError, "image_size 32, here it is None"),
        ({"renormalise_rows": False}, ConfigError, "renormalise_rows True, here it is False"),
    ],
)
def test_another_model_or_setting_is_refused_with_the_remedy(
    changes: dict[str, Any], kind: type[VitadError], named: str
) -> None:
    right: dict[str, Any] = {
        "model_digest": "a" * 64,
        "pipeline": dict(PIPELINE),
        "renormalise_rows": True,
        "grid": (2, 3),
    }
    make().check(**right)
    with (
        pytest.raises(kind, match=f"{named}.*summarize.json.*vitad-med stats")
        if "set image" not in named
        else (pytest.raises(kind, match=named))
    ):
        make().check(**{**right, **changes})


def test_values_that_cannot_be_are_refused() -> None:
    good = make()
    bad = good.mean.clone()
    bad[0, 0] = torch.nan
    for changes, message in (
        ({"mean": bad}, "'mean' has values that are not finite"),
        ({"squares": -good.squares}, "negative"),
        ({"squares": good.squares[:, :5]}, r"'squares' is .* \[2, 5\], but must be .* \[2, 6\]"),
        ({"count": good.count.double()}, "'count'"),
        ({"views": "local"}, "'views'"),
    ):
        with pytest.raises(DataError, match=message):
            replace(good, **changes)


def rewrite(path: Path, tensors: dict[str, torch.Tensor] | None = None, **metadata: str | None) -> None:
    """Edit the file by the library itself; the stored digest of the tensors is made right again."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        kept = {**file.metadata(), "tensor_digest": state_digest({**load_file(path), **(tensors or {})}), **metadata}
    kept = {name: value for name, value in kept.items() if value is not None}
    save_safetensors_file({**load_file(path), **(tensors or {})}, path, kept)


def test_a_damaged_or_foreign_file_is_one_sentence(path: Path, tmp_path: Path) -> None:
    good = path.read_bytes()
    nan = torch.full((2, 6), torch.nan, dtype=torch.float64)

    def refused(message: str) -> None:
        with pytest.raises(DataError, match=message) as caught:
            read_statistics(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
        path.write_bytes(good)

    for content in (b"", good[:100], good[:-8], b"not a file of tensors" * 20):
        path.write_bytes(content)
        refused("damaged")
    path.write_bytes(good[:-3] + bytes([good[-3] ^ 1]) + good[-2:])
    refused("do not have the stored digest")
    rewrite(path, schema="vitad_med/source_statistics/2")
    refused("schema is 'vitad_med/source_statistics/2', but must be 'vitad_med/source_statistics/1'")
    rewrite(path, schema=None)
    refused("schema is None")
    rewrite(path, {"mean": nan})
    refused("'mean' has values that are not finite; make them again")
    rewrite(path, grid="[3, 3]")
    refused("'mean' is .* but must be")
    rewrite(path, patients=None)
    refused("lack 'patients'")
    for name, value in (("pipeline", "{"), ("grid", '"ab"'), ("grid", "[]"), ("patients", "3")):
        rewrite(path, **{name: value})
        refused("metadata that cannot be read")
    rewrite(path, image_size='"32"')
    refused("'image_size' is '32', but must be int")
    read_statistics(path)
    with pytest.raises(DataError, match="do not exist: make them with"):
        read_statistics(tmp_path / "absent.safetensors")
    with pytest.raises(DataError):
        read_statistics(tmp_path)
