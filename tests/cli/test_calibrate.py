"""`vitad-med calibrate` on real radiographs: a site's folder, a finished run, and every way to be refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitad_med.calibration import Calibration, check_binding, drift, operating_point, read_calibration
from vitad_med.calibration.run import run_intensities
from vitad_med.cli import main
from vitad_med.data.chestxray14 import read_chestxray14
from vitad_med.errors import ConfigError
from vitad_med.networks.proxy import ProxyNetwork
from vitad_med.networks.state import save_model
from vitad_med.predictions.identifiers import Identifiers
from vitad_med.predictions.journal import Journal
from vitad_med.predictions.reader import read_predictions
from vitad_med.predictions.records import Predictions
from vitad_med.predictions.writer import PredictionWriter

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = str(ROOT / "bundles" / "attn_synth")
SIZE = 32
SCORE = ("--bundle", BUNDLE, "--device", "cpu", "--set", f"image_size={SIZE}")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small untrained network: which scores it gives is of no consequence here."""
    path = tmp_path_factory.mktemp("model") / "model.pt"
    save_model(
        path, ProxyNetwork("vit_tiny_patch16_224", "none", SIZE, head_hidden=512, aggregate="learned", detail_width=24)
    )
    return path


@pytest.fixture(scope="module")
def normals(nih_mini: Path) -> list[Path]:
    """Files of embedded normal radiographs."""
    return [case.image_path for case in read_chestxray14(nih_mini) if case.label == 0]


@pytest.fixture(scope="module")
def site(normals: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty patients of a hospital with two radiographs each."""
    folder = tmp_path_factory.mktemp("site")
    for number, path in enumerate(normals[:60]):
        patient = folder / f"JONES^MARY^{number // 2:02d}"
        patient.mkdir(exist_ok=True)
        shutil.copy(path, patient / path.name)
    return folder


@pytest.fixture(scope="module")
def calibrated(site: Path, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file that the command wrote for the site."""
    path = tmp_path_factory.mktemp("out") / "site.json"
    assert main(["calibrate", str(site), *SCORE, "--weights", str(model), "--out", str(path)]) == 0
    return path


def write_run(
    folder: Path, nih_mini: Path, change: Callable[[np.ndarray], np.ndarray] = lambda x: x, **journal: str
) -> Predictions:
    """A finished run on disk: the embedded normal images and their mean brightness as the score."""
    cases = [case for case in read_chestxray14(nih_mini) if case.split == "test" or case.label == 0]
    naming: Identifiers = "clear"
    changed = []
    pictures = folder / "pictures"
    pictures.mkdir(parents=True)
    for case in cases:
        pixels = change(np.asarray(Image.open(case.image_path).convert("L"), dtype=np.float64) / 255)
        Image.fromarray(np.round(pixels * 255).astype(np.uint8)).save(pictures / f"{case.case_id}.png")
        changed.append(replace(case, image_path=pictures / f"{case.case_id}.png", split="test"))
    writer = PredictionWriter(folder, changed, 64, naming)
    for index, case in enumerate(changed):
        score = float(np.asarray(Image.open(case.image_path)).mean())
        writer.add(index, score, np.zeros((64, 64), np.float32))
    digests = {"model_digest": "a" * 64, "data_digest": "d" * 64, **journal}
    writer.finish(Journal(method="brightness", pipeline={"image_size": 64}, backend={"name": "numpy"}, **digests))
    return read_predictions(folder)


def test_a_hospitals_folder(calibrated: Path, site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = read_calibration(calibrated)
    assert (found.patients, found.images) == (21, 42)
    assert found.check is not None
    assert (found.check["patients"], found.check["images"]) == (9, 18)
    assert found.patients_known
    assert found.method == "attn_synth"
    assert found.threshold == np.sort(found.scores)[-2]  # k = floor(22 * 0.1)
    assert set(map(len, found.intensities.values())) == {21}
    text = calibrated.read_text()
    assert "JONES" not in text
    assert str(site) not in text
    assert not [path for path in site.rglob("*.jpg") if path.stem in text]


def test_the_summary_and_the_log(
    site: Path, model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], calibrated: Path
) -> None:
    copy = tmp_path / "ward"
    shutil.copytree(site, copy)
    patient = sorted(copy.iterdir())[0]
    twice = copy / "another" / "same.jpg"
    twice.parent.mkdir()
    shutil.copy(sorted(patient.iterdir())[0], twice)
    out = tmp_path / "c.json"
    assert main(["calibrate", str(copy), *SCORE, "--weights", str(model), "--out", str(out)]) == 0
    shown = capfd.readouterr()
    for words in ("0.1", "0.091", "21 patients", "95 % confidence", "18 images of 9 patients", "1 image is left out"):
        assert words in shown.out
    assert "cannot be checked" in shown.out.replace("\n", " ")
    assert "JONES" not in shown.out + shown.err
    assert "ward" not in shown.out + shown.err
    # The copy changes nothing: same patients, same scores.
    assert np.array_equal(read_calibration(out).scores, read_calibration(calibrated).scores)
    again = ["calibrate", str(copy), *SCORE, "--weights", str(model), "--out", str(out), "--list"]
    assert main([*again, "--check_fraction", "0"]) == 0
    shown = capfd.readouterr()
    assert "JONES^MARY^00/" in shown.out or "another/same" in shown.out
    assert "nobody was held out" in shown.out
    assert read_calibration(out).patients == 30


def test_a_flat_folder_says_that_patients_are_not_known(
    normals: list[Path], model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "flat"
    folder.mkdir()
    for path in normals[:20]:
        shutil.copy(path, folder)
    out = tmp_path / "c.json"
    assert main(["calibrate", str(folder), *SCORE, "--weights", str(model), "--out", str(out)]) == 0
    assert "Every image counts as a patient of its own" in capsys.readouterr().out.replace("\n", " ")
    assert not read_calibration(out).patients_known


def test_a_published_data_set_uses_patients_held_out_from_training(
    nih_mini: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "c.json"
    words = [
        "calibrate",
        str(nih_mini),
        "--data",
        "nih_chestxray14",
        *SCORE,
        "--weights",
        str(model),
        "--out",
        str(out),
    ]
    assert main([*words, "--fpr", "0.25"]) == 0
    assert "val_fraction and split_seed" in capsys.readouterr().out.replace("\n", " ")
    found = read_calibration(out)
    assert found.images + found.check["images"] == 6
    assert main([*words, "--section", "test"]) == 0
    found = read_calibration(out)
    assert found.images + found.check["images"] == 16  # the normal ones of 48
    assert found.cohorts["sex=M"]["patients"] is not None  # published: small cells are no secret


def test_a_finished_run_and_another_model(nih_mini: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "run", nih_mini)
    out = tmp_path / "c.json"
    assert main(["calibrate", str(tmp_path / "run"), "--out", str(out), "--fpr", "0.05"]) == 0
    assert "32 abnormal images are left out" in capsys.readouterr().out
    found = read_calibration(out)
    assert found.images + found.check["images"] == sum(case.label == 0 for case in run.cases)
    check_binding(found, asdict(run.journal))
    block, p_values, _ = operating_point(
        run.cases, run.scores, {"all": np.ones(len(run.cases), bool)}, rate=0.05, calibration=found
    )
    assert block["threshold"] == found.threshold
    assert p_values.min() >= 1 / (found.patients + 1)

    other = write_run(tmp_path / "other", nih_mini, model_digest="b" * 64)
    with pytest.raises(ConfigError, match=f"another model.*{'a' * 12} there and {'b' * 12} here; calibrate again"):
        check_binding(found, asdict(other.journal))


def test_drift_of_runs_on_disk(nih_mini: Path, tmp_path: Path) -> None:
    same = write_run(tmp_path / "same", nih_mini)
    assert main(["calibrate", str(tmp_path / "same"), "--out", str(tmp_path / "c.json"), "--check_fraction", "0"]) == 0
    found: Calibration = read_calibration(tmp_path / "c.json")
    rows = drift(same.cases, same.scores, run_intensities(same), found)["rows"]
    assert {(row["ks"], row["p"], row["psi"]) for row in rows} == {(0, 1, 0)}
    for name, change in {"inverted": lambda x: 1 - x, "gamma": lambda x: x**2.2}.items():
        run = write_run(tmp_path / name, nih_mini, change)
        shifted = {
            row["quantity"]
            for row in drift(run.cases, run.scores, run_intensities(run), found)["rows"]
            if row["shifted"]
        }
        assert {"score", "intensity mean", "intensity median"} <= shifted


def test_a_run_without_a_journal_is_refused(nih_mini: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "run", nih_mini)
    (tmp_path / "run" / "predictions" / "run.json").unlink()
    assert main(["calibrate", str(tmp_path / "run"), "--out", str(tmp_path / "c.json")]) == 2
    assert "run.json" in capsys.readouterr().err
    assert not (tmp_path / "c.json").exists()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--fpr", "0.01"), "at least 99 "),
        (("--fpr", "10"), "--fpr is 10"),
        (("--check_fraction", "1"), "--check_fraction is 1"),
        (("--section", "train"), "--section train"),
        (("--section", "test"), "choose all or val"),
        (("--set", "image_sise=64"), "did you mean '--image_size'"),
        (("--set", "image_size"), "KEY=VALUE"),
        (("--set", "output_dir=x"), "--set output_dir"),
        (("--bundle", "/nowhere"), "evaluate.json"),
    ],
)
def test_mistakes_are_one_sentence_and_nothing_is_written(
    site: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], named: str
) -> None:
    out = tmp_path / "c.json"
    assert main(["calibrate", str(site), *SCORE, "--weights", str(model), "--out", str(out), *words]) == 2
    shown = capsys.readouterr().err
    assert named in shown
    assert shown.splitlines()[-1].startswith("error: ")
    assert "Traceback" not in shown
    assert not out.exists()


def test_a_folder_needs_a_bundle_and_a_run_needs_none(
    site: Path, nih_mini: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["calibrate", str(site)]) == 2
    assert "give --bundle" in capsys.readouterr().err
    write_run(tmp_path / "run", nih_mini)
    assert main(["calibrate", str(tmp_path / "run"), "--device", "cpu"]) == 2
    assert "--device" in capsys.readouterr().err
    assert main(["calibrate", str(tmp_path / "absent"), *SCORE]) == 2
    assert "absent" in capsys.readouterr().err
