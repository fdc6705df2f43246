"""`vitad-med export` on a small network in a copy of a bundle."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.scoring.backends.conftest import KEYS, small_network
from vitad_med.cli import main
from vitad_med.networks.state import save_model
from vitad_med.scoring.backends import open_backend
from vitad_med.scoring.backends.certificate import certificate_path, read_certificate
from vitad_med.scoring.bundle import load_bundle

SET = [word for key, value in KEYS.items() for word in ("--set", f"{key}={value}".replace("'", '"'))]


@pytest.fixture(scope="module")
def root(repo_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("away") / "anovit"
    shutil.copytree(repo_root / "bundles" / "anovit", folder, ignore=shutil.ignore_patterns("models"))
    save_model(folder / "models" / "model.pt", small_network(1))
    return folder


def test_export_prints_the_certificate_and_scores_can_be_computed(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "net.onnx"
    assert main(["export", "--bundle", str(root), "--backend", "onnx", "--out", str(out), *SET]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    certificate = read_certificate(certificate_path(out))
    assert certificate.exported_digest[:12] in said.out
    assert "4 made, 0 radiographs" in said.out
    assert f"at most {certificate.deviation['map_pixel']:.1e}, allowed 1e-04" in said.out
    assert sorted(path.name for path in out.parent.iterdir()) == [
        "net.onnx",
        "net.onnx.certificate.json",
        "net.onnx.golden.safetensors",
    ]
    open_backend("onnx", load_bundle(root, {**KEYS, "device": "cpu"}), out)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "amp=true"], "leave amp out"),
        (["--set", "device=cuda"], "this command sets that key itself"),
        (["--set", "smothing=2"], "smoothing"),
        (["--weights", "absent.pt"], "does not exist"),
    ],
)
def test_mistakes_are_one_sentence(
    words: list[str], message: str, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "net.onnx"
    assert main(["export", "--bundle", str(root), "--backend", "onnx", "--out", str(out), *SET, *words]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert message in said
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
