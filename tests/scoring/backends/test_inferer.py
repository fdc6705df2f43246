"""A calibration that is made on an exported network, through the command line."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.scoring.backends.conftest import KEYS
from vitad_med.calibration import Calibration, check_binding, read_calibration
from vitad_med.cli import main
from vitad_med.data.chestxray14 import read_chestxray14
from vitad_med.digests import config_digest
from vitad_med.errors import ConfigError
from vitad_med.scoring.backends import Backend, open_backend
from vitad_med.scoring.bundle import ScoringBundle

SET = [word for key, value in KEYS.items() for word in ("--set", f"{key}={value}".replace("'", '"'))]


@pytest.fixture(scope="module")
def site(nih_mini: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty patients of a hospital."""
    folder = tmp_path_factory.mktemp("site")
    normals = [case.image_path for case in read_chestxray14(nih_mini) if case.label == 0]
    for number, path in enumerate(normals[:20]):
        (folder / f"patient{number:02d}").mkdir()
        shutil.copy(path, folder / f"patient{number:02d}" / path.name)
    return folder


def digests(bundle: ScoringBundle, backend: Backend) -> dict[str, str | None]:
    """As a run's journal has them."""
    return {
        "model_digest": bundle.model_digest,
        "pipeline_digest": config_digest(bundle.pipeline),
        "backend_digest": config_digest(backend.description),
    }


def test_a_calibration_holds_for_the_backend_that_it_was_made_on(
    site: Path, small_root: Path, bundle: ScoringBundle, exports: dict[str, Path], tmp_path: Path
) -> None:
    made: dict[str, Calibration] = {}
    for name in ("torch", "onnx"):
        out = tmp_path / f"{name}.json"
        scoring = ["--bundle", str(small_root), "--backend", name, *SET]
        assert main(["calibrate", str(site), *scoring, "--fpr", "0.2", "--out", str(out)]) == 0
        made[name] = read_calibration(out)
    assert made["onnx"].scores == pytest.approx(made["torch"].scores, abs=1e-6)
    for name, other in (("onnx", "torch"), ("torch", "onnx")):
        check_binding(made[name], digests(bundle, open_backend(name, bundle)))
        with pytest.raises(ConfigError, match="another device or precision"):
            check_binding(made[name], digests(bundle, open_backend(other, bundle)))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--exported", "net.onnx"], "--exported net.onnx is for --backend onnx or openvino"),
        (["--backend", "onnx", "--device", "cuda"], "computes on the CPU; leave it out"),
        (["--backend", "onnx", "--exported", "absent.onnx"], "absent.onnx' does not exist: make it with"),
        (["--backend", "onnx", "--set", "amp=true"], "leave amp out"),
    ],
)
def test_mistakes_are_one_sentence(
    words: list[str],
    message: str,
    site: Path,
    small_root: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "calibration.json"
    assert main(["calibrate", str(site), "--bundle", str(small_root), "--out", str(out), *SET, *words]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not out.exists()
