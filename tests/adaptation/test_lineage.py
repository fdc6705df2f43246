"""The adapted model is saved apart, whole, and known by its lineage; the source stays untouched."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.adaptation.studies import guard_of, held_scores, pixel
from vitad_med.adaptation.lineage import SCHEMA, Lineage, read_lineage, save_adapted
from vitad_med.digests import file_digest
from vitad_med.errors import ConfigError, DataError, StorageError, WeightsError
from vitad_med.networks.proxy import ProxyNetwork
from vitad_med.networks.state import load_model, save_model

LINEAGE = Lineage(
    source_digest="a" * 64, method="alignment", mode="online", settings={"lr": 5e-4}, updates=7, kept=5, undone=2
)


def proxy() -> ProxyNetwork:
    return ProxyNetwork(weights="none", image_size=32, head_hidden=16, head_bottleneck=8).eval()


@pytest.fixture
def network() -> ProxyNetwork:
    return proxy()


@pytest.fixture
def bundle(tmp_path: Path, network: ProxyNetwork) -> Path:
    """A bundle's folder with its source model."""
    save_model(tmp_path / "bundle" / "models" / "model.pt", network)
    return tmp_path / "bundle"


def test_the_adapted_model_scores_as_it_did_in_memory(tmp_path: Path, network: ProxyNetwork, bundle: Path) -> None:
    source = bundle / "models" / "model.pt"
    load_model(source, network)
    images = torch.rand(4, 1, 32, 32)
    before = network.predict(images).score
    # Updates of LayerNorm weights near 1, below half of fp16's step there.
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.LayerNorm):
                module.weight.add_(torch.randn_like(module.weight).clamp(-2, 2), alpha=1e-4)
    adapted = network.predict(images)
    assert not torch.equal(adapted.score, before)

    former = file_digest(source)
    written = save_adapted(tmp_path / "adapted", network, LINEAGE, source, bundle)
    loaded = proxy()
    assert load_model(tmp_path / "adapted" / "model.pt", loaded) == written.adapted_digest
    assert torch.equal(loaded.predict(images).score, adapted.score)
    assert torch.equal(loaded.predict(images).map, adapted.map)
    assert file_digest(source) == former
    save_model(tmp_path / "half.pt", network)
    load_model(tmp_path / "half.pt", loaded)
    assert torch.equal(loaded.predict(images).score, before), "fp16 rounds the whole adaptation away"


def test_the_lineage_comes_back(tmp_path: Path, network: ProxyNetwork, bundle: Path) -> None:
    found = guard_of(*held_scores(0, 20, 20, 0.9), replicates=50).calibrate(pixel)
    given = replace(LINEAGE, guard=asdict(found), statistics_digest="b" * 64, audit_digest="c" * 64)
    written = save_adapted(tmp_path / "adapted", network, given, bundle / "models" / "model.pt", bundle)
    path = tmp_path / "adapted" / "lineage.json"
    assert read_lineage(path) == written
    assert replace(written, adapted_digest="", created="", software="") == given
    assert written.software.startswith("vitad_med ")
    assert written.created.endswith("Z")
    content = json.loads(path.read_text())
    assert content["schema"] == SCHEMA
    assert str(tmp_path) not in path.read_text()
    assert sorted(file.name for file in path.parent.iterdir()) == ["lineage.json", "model.pt"]


@pytest.mark.parametrize(
    "place", ["models", "models/adapted", "elsewhere/../models", "link", "link/below", "linked file", "hard link"]
)
def test_the_source_bundle_is_never_written(bundle: Path, network: ProxyNetwork, place: str) -> None:
    source = bundle / "models" / "model.pt"
    former = file_digest(source)
    (bundle / "elsewhere").mkdir()
    (bundle / "link").symlink_to(bundle / "models", target_is_directory=True)
    if place.startswith(("linked", "hard")):
        (bundle / place).mkdir()
        (os.symlink if place.startswith("linked") else os.link)(source, bundle / place / "model.pt")
    with pytest.raises(ConfigError, match="must not change: choose another output_dir"):
        save_adapted(bundle / place, network, LINEAGE, source, bundle)
    assert file_digest(source) == former
    assert [file.name for file in (bundle / "models").iterdir()] == ["model.pt"]


def test_a_source_outside_a_bundle_is_not_written_either(tmp_path: Path, network: ProxyNetwork) -> None:
    source = tmp_path / "run" / "model.pt"
    save_model(source, network)
    with pytest.raises(ConfigError, match="holds the source model"):
        save_adapted(tmp_path / "run", network, LINEAGE, source)
    with pytest.raises(ConfigError, match="holds the source model"):
        save_adapted(tmp_path / "run" / "x" / "..", network, LINEAGE, source)
    save_adapted(tmp_path / "run" / "adapted", network, LINEAGE, source)
    source.unlink()  # its place stays its own
    with pytest.raises(ConfigError, match="holds the source model"):
        save_adapted(tmp_path / "run", network, LINEAGE, source)
    read_lineage(tmp_path / "run" / "adapted" / "lineage.json")


def test_what_json_cannot_hold_is_refused_before_anything_is_written(tmp_path: Path, network: ProxyNetwork) -> None:
    for settings in ({"lr": float("nan")}, {"path": tmp_path}):
        with pytest.raises(ConfigError, match="give plain values"):
            save_adapted(tmp_path / "new", network, replace(LINEAGE, settings=settings), tmp_path / "model.pt")
    assert not (tmp_path / "new").exists()


def test_half_a_folder_has_no_lineage(tmp_path: Path, network: ProxyNetwork) -> None:
    """The former lineage goes first: a crash between the files leaves a model that nobody takes for the former one."""
    folder, source = tmp_path / "adapted", tmp_path / "model.pt"
    save_adapted(folder, network, LINEAGE, source)
    (folder / "model.pt").unlink()
    (folder / "model.pt").mkdir()  # stands for any failure while the model is written
    with pytest.raises(StorageError, match=r"model\.pt"):
        save_adapted(folder, network, LINEAGE, source)
    assert not (folder / "lineage.json").exists()
    with pytest.raises(DataError, match="holds no adapted model, or half of one"):
        read_lineage(folder / "lineage.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "vitad_med/lineage/2"}, "key 'schema' is 'vitad_med/lineage/2'"),
        ({"updates": "7"}, "key 'updates' must be a whole number"),
        ({"kept": True}, "key 'kept' must be a whole number"),
        ({"kept": 9}, "'updates' must be kept"),
        ({"method": None}, "key 'method' must be text"),
        ({"data_digest": 3}, "key 'data_digest' must be text or null"),
        ({"settings": []}, "key 'settings' must be an object"),
        ({"guard": "wide"}, "key 'guard' must be an object or null"),
        ({"adapted_digest": "d" * 64}, "lineage of another model"),
    ],
)
def test_an_edited_lineage_is_refused(tmp_path: Path, network: ProxyNetwork, change: Any, message: str) -> None:
    save_adapted(tmp_path / "adapted", network, LINEAGE, tmp_path / "model.pt")
    path = tmp_path / "adapted" / "lineage.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(DataError, match=message):
        read_lineage(path)


def test_damage_is_told(tmp_path: Path, network: ProxyNetwork) -> None:
    save_adapted(tmp_path / "adapted", network, LINEAGE, tmp_path / "model.pt")
    path = tmp_path / "adapted" / "lineage.json"
    text = path.read_text()
    for damaged, message in (
        (text[:40], "cannot be read as JSON"),
        ("[]", "key 'schema' is None"),
        (text.replace('"mode"', '"mood"'), "has no key 'mode'"),
    ):
        path.write_text(damaged)
        with pytest.raises(DataError, match=message):
            read_lineage(path)
    path.write_text(text)
    with torch.no_grad():
        next(network.parameters()).add_(1)
    save_model(path.with_name("model.pt"), network, torch.float32)
    with pytest.raises(DataError, match="lineage of another model"):
        read_lineage(path)
    path.with_name("model.pt").unlink()
    with pytest.raises(WeightsError, match="does not exist"):
        read_lineage(path)
