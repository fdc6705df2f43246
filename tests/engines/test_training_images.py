"""Before training it is said which images are trained on and which are left out."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vitad_med.checkpoint import save_safetensors
from vitad_med.data.splits import split_digest
from vitad_med.engines.setup import training_cases
from vitad_med.engines.training_images import check_encoder_images, training_summary


def write_image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(path)


def test_abnormal_images_in_the_training_list_are_counted_and_left_out(
    nih_mini: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "nih"
    shutil.copytree(nih_mini, folder, symlinks=True)
    tables = folder / "Data_Entry_2017_v2020.csv"
    wrong = (folder / "train_val_list.txt").read_text().split()[:3]
    rows = tables.read_text().splitlines()
    tables.write_text(
        "\n".join(r.replace("No Finding", "Mass") if r.split(",")[0] in wrong else r for r in rows) + "\n"
    )
    caplog.set_level(logging.INFO)
    cases, counts = training_summary("nih_chestxray14", str(folder), 0.1, 0, {})
    assert counts["abnormal_left_out"] == 3
    assert len(cases) + counts["normal_held_out"] == 61
    assert all(case.label == 0 for case in cases)
    assert f"training images: {len(cases)} normal of {len(cases)} patients; left out: 3 abnormal" in caplog.text
    assert any(r.levelno == logging.WARNING and "3 abnormal" in r.message for r in caplog.records)


def test_a_folder_without_labels_says_that_nothing_is_known(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name in ("a/0.png", "b/0.png", "b/1.png"):
        write_image(tmp_path / name)
    cases, counts = training_summary("image_folder", str(tmp_path), 0.0, 0, {})
    assert len(cases) == 3
    assert counts == {
        "data": "image_folder",
        "split_digest": split_digest(cases),
        "val_fraction": 0.0,
        "split_seed": 0,
        "images": 3,
        "patients": 2,
        "labels": "unknown: every image is taken as normal",
    }
    assert "an abnormal one among them is learned as normal" in caplog.text


@pytest.mark.parametrize("category", ["screw", None])
def test_defects_in_a_training_folder_of_mvtec_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, category: str | None
) -> None:
    for name in ("train/good/0", "train/good/1", "train/scratch/0", "train/scratch/1", "test/good/0", "test/scratch/0"):
        write_image(tmp_path / "screw" / f"{name}.png")
    cases, counts = training_summary("mvtec", str(tmp_path), 0.0, 0, {"category": category})
    assert [case.case_id for case in cases] == ["screw/train/good/0", "screw/train/good/1"]
    assert counts["abnormal_left_out"] == 2
    assert "training images: 2 normal of 2 patients; left out: 2 abnormal as labelled" in caplog.text


def test_an_encoder_of_other_images_is_a_warning(
    nih_mini: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mine, others = (training_cases("nih_chestxray14", str(nih_mini), 0.1, seed, {}) for seed in (0, 1))
    path = tmp_path / "encoder.safetensors"
    made = {"split_digest": split_digest(others), "val_fraction": "0.1", "split_seed": "1"}
    save_safetensors(path, {"cls_token": torch.zeros(1)}, made)
    check_encoder_images(str(path), others)
    for silent in ("embedded", "vit_small_patch16_224.dino", str(tmp_path / "absent.safetensors")):
        check_encoder_images(silent, mine)
    save_safetensors(tmp_path / "untold.safetensors", {"cls_token": torch.zeros(1)}, {})
    check_encoder_images(str(tmp_path / "untold.safetensors"), mine)
    assert not caplog.records
    check_encoder_images(str(path), mine)
    assert "pre-trained on other images" in caplog.text
    assert "val_fraction 0.1 and split_seed 1" in caplog.text
