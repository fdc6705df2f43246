"""Published reference figures of maps that know nothing, on real boxes."""

from pathlib import Path

import numpy as np
import pytest

from vitad_med.data.case import box_mask
from vitad_med.data.chestxray14 import read_chestxray14
from vitad_med.metrics.conditioned import PairMatrices
from vitad_med.metrics.image import image_auroc, metadata_null
from vitad_med.metrics.pooled import PooledHistograms, pixel_auroc

SIZE = 224


def test_blob_and_box_area_on_the_development_boxes(shared_data: Path) -> None:
    cases = [c for c in read_chestxray14(shared_data / "nih_cxr14_dev", section="test") if c.boxes]
    masks = np.stack([box_mask(case.boxes, SIZE, SIZE) for case in cases])
    axis = ((np.arange(SIZE) + 0.5) / SIZE - 0.5) / 0.3
    blob = np.exp(-(axis[:, None] ** 2) - axis**2).astype(np.float32)
    area = np.broadcast_to(masks.mean(axis=(1, 2), keepdims=True, dtype=np.float32), masks.shape)
    blobs = np.broadcast_to(blob, masks.shape)
    area_pairs = PairMatrices.build(area, masks)
    histograms = PooledHistograms.build(blobs, masks)
    expected = {
        "M": (0.08498, 0.7796, 0.7959, 0.8307),
        "F": (0.07206, 0.8118, 0.7898, 0.8272),
    }
    for sex, (fraction, blob_pooled, area_pooled, area_position) in expected.items():
        cohort = np.array([case.sex == sex for case in cases])
        assert masks[cohort].mean() == pytest.approx(fraction, abs=5e-5)
        assert pixel_auroc(blobs[cohort], masks[cohort]) == pytest.approx(blob_pooled, abs=5e-4)
        assert histograms.auroc(cohort.astype(float)) == pytest.approx(blob_pooled, abs=5e-4)
        assert pixel_auroc(area[cohort], masks[cohort]) == pytest.approx(area_pooled, abs=5e-4)
        assert area_pairs.auroc(index=cohort) == pytest.approx(area_position, abs=5e-4)


def test_metadata_say_little_on_the_development_test_list(shared_data: Path) -> None:
    cases = read_chestxray14(shared_data / "nih_cxr14_dev", section="test")
    labels = [case.label for case in cases]
    assert image_auroc([case.age for case in cases], labels) == pytest.approx(0.42, abs=0.005)
    assert image_auroc([case.view == "AP" for case in cases], labels) == pytest.approx(0.52, abs=0.005)
    values = [float(image_auroc(metadata_null(cases, seed=seed), labels)) for seed in (0, 100, 200)]
    assert np.mean(values) == pytest.approx(0.54, abs=0.02)
    assert np.ptp(values) < 0.02


def test_metrics_on_the_embedded_boxes_of_both_sexes(nih_mini: Path) -> None:
    cases = [c for c in read_chestxray14(nih_mini, section="test") if c.boxes]
    masks = np.stack([box_mask(case.boxes, 56, 56) for case in cases])
    mean = masks.mean(axis=0, dtype=np.float32)
    prior = np.broadcast_to(mean, masks.shape)
    pairs = PairMatrices.build(prior, masks)
    for sex in ("M", "F"):
        cohort = np.array([case.sex == sex for case in cases])
        assert cohort.sum() > 2
        assert pairs.auroc(index=cohort) == 0.5
        # Knowing where boxes usually lie is rewarded by the pooled figure only.
        assert pixel_auroc(prior[cohort], masks[cohort]) > 0.7
