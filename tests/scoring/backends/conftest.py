"""A small network in a copy of its bundle: exported in seconds, where a transformer takes half a minute."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from vitad_med.engines.reconstruction import create_network
from vitad_med.networks.state import save_model
from vitad_med.scoring.backends.exporting import export
from vitad_med.scoring.bundle import ScoringBundle, load_bundle

KEYS: dict[str, Any] = {
    "model": "l2_cae",
    "image_size": 32,
    "widths": [8, 4],
    "strides": [2, 2, 1],
    "cae_input": "same",
    "smoothing": 1.0,
}


def small_network(seed: int = 0) -> torch.nn.Module:
    """Untrained, as the keys say."""
    torch.manual_seed(seed)
    return create_network(
        **KEYS, channels=1, architecture="vit_tiny_patch16_224", weights="none", final_relu=True, error="l2"
    )


@pytest.fixture(scope="session")
def small_root(repo_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with weights, beside the example images as in the repository."""
    root = tmp_path_factory.mktemp("repository")
    (root / "examples").symlink_to(repo_root / "examples")
    folder = root / "bundles" / "anovit"
    shutil.copytree(repo_root / "bundles" / "anovit", folder, ignore=shutil.ignore_patterns("models"))
    save_model(folder / "models" / "model.pt", small_network())
    return folder


@pytest.fixture(scope="session")
def bundle(small_root: Path) -> ScoringBundle:
    return load_bundle(small_root, {**KEYS, "device": "cpu"})


@pytest.fixture(scope="session")
def exports(bundle: ScoringBundle) -> dict[str, Path]:
    """Files of both backends, at their default places; not to be changed."""
    return {name: export(bundle, name)[0] for name in ("onnx", "openvino")}


@pytest.fixture
def exported(exports: dict[str, Path], tmp_path: Path) -> Path:
    """A copy of the ONNX export with what lies beside it, to be changed."""
    source = exports["onnx"]
    for file in source.parent.glob(f"{source.name}*"):
        shutil.copy(file, tmp_path)
    return tmp_path / source.name
