"""`vitad-med features` on real radiographs: a bundle's model, a bare encoder, and every way to be refused."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from vitad_med.cli import main

ROOT = Path(__file__).resolve().parents[2]
BUNDLES = ("attn_synth", "apmask")


def words(dataset: Path, out: Path, bundle: str = "apmask", *more: str) -> list[str]:
    start = ["features", str(dataset), "--bundle", str(ROOT / "bundles" / bundle), "--out", str(out)]
    return [*start, "--device", "cpu", "--limit", "8", *more]


@pytest.mark.parametrize("bundle", BUNDLES)
def test_an_encoder_before_fine_tuning(
    nih_mini: Path, tmp_path: Path, bundle: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--encoder", "embedded", "--set", "image_size=64", "--by", "finding")
    assert main(words(nih_mini, tmp_path / "out", bundle, *options)) == 0
    shown = capsys.readouterr()
    assert "encoder embedded: 8 normal, 8 synthetic anomaly, 8 abnormal" in shown.out
    assert "normal / synthetic anomaly: AUROC of a linear probe" in shown.out
    assert "mean little" in shown.out
    assert "features of 8 images" in shown.err
    assert (tmp_path / "out" / "features.png").read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"features.png", "features.csv", "features.json"}


def test_the_shipped_model(nih_mini: Path, tmp_path: Path) -> None:
    model = ROOT / "bundles" / "attn_synth" / "models" / "model.pt"
    assert main(words(nih_mini, tmp_path / "out", "apmask", "--weights", str(model))) == 0
    content = json.loads((tmp_path / "out" / "features.json").read_text())
    assert content["model"] == "apmask"
    assert content["image_size"] == 224
    with (tmp_path / "out" / "features.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 24


@pytest.mark.parametrize(
    ("more", "part"),
    [
        (("--weights", "absent.pt"), "'absent.pt' does not exist"),
        (("--encoder", "absent.safetensors"), "'absent.safetensors' does not exist"),
        (("--set", "seed=3"), "this command sets that key itself"),
        (("--set", "image_siz=64"), "did you mean '--image_size'"),
    ],
)
def test_mistakes_are_refused_by_name(
    nih_mini: Path, tmp_path: Path, more: tuple[str, ...], part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(nih_mini, tmp_path / "out", "apmask", *more)) == 2
    assert part in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_weights_and_encoder_exclude_one_another(nih_mini: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit):
        main(words(nih_mini, tmp_path / "out", "apmask", "--weights", "a.pt", "--encoder", "embedded"))


def test_a_file_is_no_folder_of_results(nih_mini: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").write_text("mine")
    assert main(words(nih_mini, tmp_path / "out")) == 2
    assert "is a file: give a folder" in capsys.readouterr().err
