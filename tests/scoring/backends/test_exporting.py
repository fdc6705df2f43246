"""What is exported, and that nothing is where it does not give what torch gives."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from tests.scoring.backends.conftest import KEYS, small_network
from vitad_med.digests import file_digest
from vitad_med.errors import ConfigError, StorageError, VitadError
from vitad_med.networks.anovit import AnoViT
from vitad_med.networks.state import save_model
from vitad_med.scoring.backends import open_backend
from vitad_med.scoring.backends.certificate import certificate_path, golden_path, read_certificate
from vitad_med.scoring.backends.exporting import export
from vitad_med.scoring.backends.graph import ScoringGraph, onnx_bytes
from vitad_med.scoring.bundle import ScoringBundle, load_bundle


@pytest.mark.parametrize("name", ["onnx", "openvino"])
@pytest.mark.parametrize("batch", [1, 3, 16])
def test_other_images_in_any_batch_give_what_torch_gives(
    name: str, batch: int, bundle: ScoringBundle, exports: dict[str, Path]
) -> None:
    images = torch.rand(batch, 1, 32, 32).numpy()
    amap, score = open_backend(name, bundle)(images)
    expected_map, expected_score = open_backend("torch", bundle)(images)
    assert amap.dtype == score.dtype == np.float32
    assert amap.shape == expected_map.shape == (batch, 1, 32, 32)
    np.testing.assert_allclose(score, expected_score, rtol=0, atol=1e-6)
    np.testing.assert_allclose(amap, expected_map, rtol=0, atol=1e-6)
    assert expected_map.std() > 0.01  # not a constant, which any network would give


def test_a_batch_stays_when_the_next_one_is_computed(bundle: ScoringBundle, exports: dict[str, Path]) -> None:
    for name in exports:
        backend = open_backend(name, bundle)
        first, _ = backend(torch.rand(2, 1, 32, 32).numpy())
        kept = first.copy()
        backend(torch.rand(2, 1, 32, 32).numpy())
        assert (first == kept).all()


@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_the_certificate_names_what_was_exported(name: str, bundle: ScoringBundle, exports: dict[str, Path]) -> None:
    path = exports[name]
    assert path.parent == bundle.folder / "models"
    certificate = read_certificate(certificate_path(path))
    assert certificate.backend == name
    assert certificate.precision == "float32"
    assert certificate.exported_digest == file_digest(path)
    assert certificate.golden_digest == file_digest(golden_path(path))
    assert certificate.model_digest == bundle.model_digest
    assert certificate.pipeline == bundle.pipeline
    assert certificate.golden.count("radiograph") == 4
    assert 0 < certificate.deviation["map_pixel"] < 1e-6
    assert certificate.tolerance["score"] == 1e-5
    assert {"vitad-med", "torch", "onnx"} < set(certificate.software)


def test_the_file_is_one_with_a_dynamic_batch_and_no_trace_of_this_machine(
    exports: dict[str, Path], repo_root: Path
) -> None:
    content = exports["onnx"].read_bytes()
    graph = onnx.load_from_string(content).graph
    assert graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert [size.dim_value for size in graph.input[0].type.tensor_type.shape.dim][1:] == [1, 32, 32]
    assert not any(tensor.external_data for tensor in graph.initializer)
    for word in (str(repo_root), "site-packages", "vitad_med", "torch/nn"):
        assert word.encode() not in content


def test_the_same_network_gives_the_same_bytes(bundle: ScoringBundle, exports: dict[str, Path]) -> None:
    assert onnx_bytes(ScoringGraph(bundle), 1, 32) == exports["onnx"].read_bytes()


def test_nothing_is_written_when_it_does_not_give_what_torch_gives(small_root: Path, tmp_path: Path) -> None:
    network = small_network()
    next(network.parameters()).data[0] = torch.nan  # a training that diverged
    weights = tmp_path / "model.pt"
    save_model(weights, network)
    broken = load_bundle(small_root, {**KEYS, "device": "cpu", "weights": str(weights)})
    out = tmp_path / "out" / "model.onnx"
    with pytest.raises(ConfigError, match="does not give what torch gives: scores deviate by nan"):
        export(broken, "onnx", out)
    assert not out.parent.exists()


def test_16_bits_are_not_for_onnx(bundle: ScoringBundle, tmp_path: Path) -> None:
    half = replace(bundle, pipeline={**bundle.pipeline, "amp": True})
    with pytest.raises(ConfigError, match="leave amp out"):
        export(half, "onnx", tmp_path / "model.onnx")


def test_a_folder_is_no_place_for_the_file(bundle: ScoringBundle, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="is a folder: give the file"):
        export(bundle, "onnx", tmp_path)
    with pytest.raises(VitadError, match="'torch' has no exported file"):
        export(bundle, "torch", tmp_path / "model.onnx")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "keys"),
    [("attn_synth", {}), ("apmask", {"sizes": [224]}), ("contnet_gaussian", {}), ("anovit", {})],
    ids=["attn_synth", "apmask", "contnet_gaussian", "anovit"],
)
def test_every_bundle_can_be_exported(name: str, keys: dict, repo_root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bundles" / name
    shutil.copytree(repo_root / "bundles" / name, folder, ignore=shutil.ignore_patterns("*.onnx*"))
    (tmp_path / "examples").symlink_to(repo_root / "examples")
    if not (folder / "models").exists():
        save_model(folder / "models" / "model.pt", AnoViT(weights="none"))
    whole = load_bundle(folder, {"device": "cpu", **keys})
    for backend in ("onnx", "openvino"):
        _, certificate = export(whole, backend)
        assert certificate.deviation["score"] < 1e-5
        assert certificate.deviation["map_mean"] < 1e-6
        images = torch.rand(2, 1, 224, 224).numpy()
        _, score = open_backend(backend, whole)(images)
        np.testing.assert_allclose(score, open_backend("torch", whole)(images)[1], rtol=0, atol=1e-5)
