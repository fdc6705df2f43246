"""Files of fits: whole, the same bytes each time, readable by the format's library, refused where they do not fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from safetensors.torch import save_file as save_safetensors_file

from tests.normality.studies import SIZE, extractor
from vitad_med.errors import ConfigError, WeightsError
from vitad_med.normality.state import Provenance, Stored, model_digest, read_stored, write_stored


def made(**changes: Any) -> Stored:
    provenance = Provenance.of(
        extractor(),
        SIZE,
        1,
        data_digests=("d" * 64,),
        patients=frozenset({"b" * 16, "a" * 16}),
        naming=("public",),
        shards=(f"1/2 {'e' * 64}",),
    )
    tensors = {
        "wide": torch.randn(3, 2, dtype=torch.float64),
        "factor": torch.randn(2, 5, 5),
        "odd": torch.randn(3)[:1],
        "count": torch.tensor(7),
        "empty": torch.empty(0, 4),
    }
    stored = Stored("model", "gaussian", {"epsilon": 0.01}, provenance, tensors)
    return replace(stored, **changes)


def test_it_reads_back(tmp_path: Path) -> None:
    stored = made(content="part", batches=(3, 16), complete=False)
    write_stored(tmp_path / "x.safetensors", stored)
    found = read_stored(tmp_path / "x.safetensors", "part")
    assert replace(found, tensors={}) == replace(stored, tensors={})
    assert found.digest == model_digest(tmp_path / "x.safetensors")
    assert found.tensors.keys() == stored.tensors.keys()
    for name, tensor in stored.tensors.items():
        assert torch.equal(found.tensors[name], tensor)
        assert found.tensors[name].dtype == tensor.dtype


def test_the_formats_own_library_agrees(tmp_path: Path) -> None:
    stored, path = made(), tmp_path / "x.safetensors"
    write_stored(path, stored)
    for name, tensor in load_file(path).items():
        assert torch.equal(tensor, stored.tensors[name])
    header = int.from_bytes(path.read_bytes()[:8], "little")
    assert header % 8 == 0


def test_same_content_same_bytes_and_digest(tmp_path: Path) -> None:
    stored = made()
    shuffled = replace(stored, tensors=dict(reversed(stored.tensors.items())))
    digests = [write_stored(tmp_path / str(number), one) for number, one in enumerate((stored, shuffled))]
    assert digests[0] == digests[1] == model_digest(tmp_path / "0")
    assert (tmp_path / "0").read_bytes() == (tmp_path / "1").read_bytes()
    others = [
        replace(stored, settings={"epsilon": 0.1}),
        replace(stored, tensors=stored.tensors | {"count": torch.tensor(8)}),
        replace(stored, provenance=replace(stored.provenance, data_digests=("c" * 64,))),
    ]
    assert len({write_stored(tmp_path / "2", one) for one in others} | {digests[0]}) == 4


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with pytest.raises(WeightsError, match=r"'.*model\.safetensors' does not exist: run train\.json first"):
        read_stored(path, "model")
    path.write_bytes(b"no safetensors")
    with pytest.raises(WeightsError, match="no safetensors file, or damaged"):
        read_stored(path, "model")
    save_safetensors_file({"x": torch.ones(1)}, path)
    with pytest.raises(WeightsError, match="schema is None"):
        model_digest(path)
    write_stored(path, made())
    with pytest.raises(WeightsError, match="is a fitted model, not a part"):
        read_stored(path, "part")
    write_stored(path, made(content="part"))
    with pytest.raises(WeightsError, match="is an unfinished part, not a fitted model"):
        read_stored(path, "model")


def test_damage_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write_stored(path, made())
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="do not have the stored digest"):
        read_stored(path, "model")
    path.write_bytes(content[:-5])
    with pytest.raises(WeightsError, match="no safetensors file, or damaged"):
        read_stored(path, "model")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("provenance", None, "lacks 'provenance'"),
        ("provenance", "{}", "metadata that cannot be read"),
        ("settings", "[1", "metadata that cannot be read"),
        ("batches", "3", "metadata that cannot be read"),
    ],
)
def test_metadata_that_cannot_be(tmp_path: Path, name: str, value: str | None, message: str) -> None:
    path = tmp_path / "model.safetensors"
    write_stored(path, made())
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    metadata = {k: v for k, v in metadata.items() if k != name} | ({} if value is None else {name: value})
    save_safetensors_file(tensors, path, metadata)
    with pytest.raises(WeightsError, match=message):
        read_stored(path, "model")


def test_another_extractor_is_named() -> None:
    provenance = made().provenance
    provenance.check_extractor(extractor(), SIZE, "m")
    provenance.check_extractor(extractor(), None, "m")
    with pytest.raises(ConfigError, match="'m' was fitted with image_size 32, here it is 64"):
        provenance.check_extractor(extractor(), 64, "m")
    provenance.check_extractor(extractor(), SIZE, "m", 1)
    with pytest.raises(ConfigError, match="'m' was fitted with channels 1, here it is 3"):
        provenance.check_extractor(extractor(), SIZE, "m", 3)
    with pytest.raises(ConfigError, match="'m' was fitted with channels_kept None, here it is 3"):
        provenance.check_extractor(extractor(channels_kept=3), SIZE, "m")
    with pytest.raises(ConfigError, match="fitted with resize 'nearest', here it is 'bilinear'"):
        provenance.check_extractor(extractor(resize="bilinear"), SIZE, "m")
    with pytest.raises(WeightsError, match=r"features of other weights, '?[0-9a-f]{12}'? there"):
        provenance.check_extractor(extractor(seed=1), SIZE, "m")
