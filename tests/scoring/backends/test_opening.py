"""An exported network is opened only with a certificate of the same weights and settings that holds here."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vitad_med.digests import config_digest
from vitad_med.errors import ConfigError, WeightsError
from vitad_med.scoring.backends import open_backend
from vitad_med.scoring.backends.certificate import certificate_path, golden_path
from vitad_med.scoring.backends.golden import Golden
from vitad_med.scoring.bundle import ScoringBundle


@pytest.fixture
def amend(exported: Path) -> Callable[..., None]:
    """Change keys of the certificate."""
    path = certificate_path(exported)

    def change(**keys: Any) -> None:
        path.write_text(json.dumps({**json.loads(path.read_text()), **keys}))

    return change


def test_torch_is_the_bundles_own_network(bundle: ScoringBundle) -> None:
    images = torch.rand(2, 1, 32, 32)
    backend = open_backend("torch", bundle)
    expected = bundle.inferer(images, bundle.network)
    amap, score = backend(images.numpy())
    assert (amap == expected.map.numpy()).all()
    assert (score == expected.score.numpy()).all()
    assert backend.description == bundle.backend


def test_a_copy_elsewhere_is_opened_and_describes_itself(bundle: ScoringBundle, exported: Path) -> None:
    description = open_backend("onnx", bundle, exported).description
    assert description == {"name": "onnx", "device": "cpu", "precision": "float32"}
    # A calibration that was made with torch is refused.
    assert config_digest(description) != config_digest(bundle.backend)


def test_names_that_are_none(bundle: ScoringBundle, exported: Path) -> None:
    with pytest.raises(ConfigError, match="backend 'tensorrt' is unknown: use torch, onnx, openvino"):
        open_backend("tensorrt", bundle)
    with pytest.raises(ConfigError, match="torch does not run"):
        open_backend("torch", bundle, exported)


def test_no_exported_file(bundle: ScoringBundle, tmp_path: Path) -> None:
    with pytest.raises(
        WeightsError, match=r"absent.onnx' does not exist: make it with `vitad-med export --backend onnx`"
    ):
        open_backend("onnx", bundle, tmp_path / "absent.onnx")


def test_no_certificate(bundle: ScoringBundle, exported: Path) -> None:
    certificate_path(exported).unlink()
    with pytest.raises(WeightsError, match="not used without its certificate"):
        open_backend("onnx", bundle, exported)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"schema": "vitad_med/parity/0"}', "\udcff"])
def test_something_else_in_place_of_a_certificate(content: str, bundle: ScoringBundle, exported: Path) -> None:
    certificate_path(exported).write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(WeightsError, match="is no parity certificate"):
        open_backend("onnx", bundle, exported)


def test_other_weights(bundle: ScoringBundle, exported: Path) -> None:
    with pytest.raises(ConfigError, match=r"was exported with model_digest [0-9a-f]{12}, but here it is 000000000000"):
        open_backend("onnx", replace(bundle, model_digest="0" * 64), exported)


def test_other_settings(bundle: ScoringBundle, exported: Path) -> None:
    other = replace(bundle, pipeline={**bundle.pipeline, "smoothing": 4.0})
    with pytest.raises(ConfigError, match=r"was exported with smoothing 1.0, but here it is 4.0: export again"):
        open_backend("onnx", other, exported)
    with pytest.raises(ConfigError, match="side 32, but here it is 64"):
        open_backend("onnx", replace(bundle, image_size=64), exported)


def test_the_export_of_another_backend(bundle: ScoringBundle, exported: Path) -> None:
    with pytest.raises(ConfigError, match="backend 'onnx', but here it is 'openvino'"):
        open_backend("openvino", bundle, exported)


def test_other_bytes(bundle: ScoringBundle, exported: Path) -> None:
    content = bytearray(exported.read_bytes())
    content[len(content) // 2] ^= 1
    exported.write_bytes(content)
    with pytest.raises(WeightsError, match=r"model.onnx' is not the file that its certificate is of"):
        open_backend("onnx", bundle, exported)


def test_other_golden_images(bundle: ScoringBundle, exported: Path) -> None:
    path = golden_path(exported)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(WeightsError, match=r"golden.safetensors' is not the file"):
        open_backend("onnx", bundle, exported)
    path.unlink()
    with pytest.raises(WeightsError, match="cannot be read"):
        open_backend("onnx", bundle, exported)


@pytest.mark.parametrize(
    ("changed", "words"), [("score", "scores deviate by 1.1e-05"), ("map", "maps at single pixels deviate by 2.0e-04")]
)
def test_golden_images_that_do_not_hold_here(
    changed: str, words: str, bundle: ScoringBundle, exported: Path, amend: Callable[..., None]
) -> None:
    path = golden_path(exported)
    golden = Golden.of_content(path.read_bytes(), path)
    values = getattr(golden, changed).copy()
    values.flat[-1] += {"score": 1.1e-5, "map": 2e-4}[changed]
    content = replace(golden, **{changed: values}).content()
    path.write_bytes(content)
    amend(golden_digest=hashlib.sha256(content).hexdigest())
    with pytest.raises(WeightsError, match=f"does not give on this machine what its certificate says .{words}"):
        open_backend("onnx", bundle, exported)


def test_a_wider_tolerance_or_another_version(
    bundle: ScoringBundle, exported: Path, amend: Callable[..., None]
) -> None:
    amend(tolerance={"score": 1.0, "map_mean": 1.0, "map_pixel": 1.0})
    with pytest.raises(ConfigError, match="was exported with tolerance"):
        open_backend("onnx", bundle, exported)


def test_another_version_of_this_package(bundle: ScoringBundle, exported: Path, amend: Callable[..., None]) -> None:
    amend(software={"vitad-med": "0.0.1"})
    with pytest.raises(ConfigError, match=r"version of vitad-med '0.0.1'"):
        open_backend("onnx", bundle, exported)


def test_one_and_two_threads_give_the_same_bytes(bundle: ScoringBundle, exports: dict[str, Path]) -> None:
    images = np.random.default_rng(0).random((4, 1, 32, 32), dtype=np.float32)
    for name in exports:
        found = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(open_backend(name, bundle)(images))
        assert (found[0][0] == found[1][0]).all()
        assert (found[0][1] == found[1][1]).all()
