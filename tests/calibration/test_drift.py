"""Drift: silent where nothing changed, loud where images or scores did, on simulated and on real radiographs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import ks_2samp

from vitad_med.calibration import Calibration, drift, intensity_statistics, intensity_table
from vitad_med.calibration.drift import stability_index
from vitad_med.calibration.image_set import copies, layout_correlation, patients_known, unlike
from vitad_med.data.case import Case
from vitad_med.data.chestxray14 import read_chestxray14
from vitad_med.data.image_io import resize
from vitad_med.errors import DataError
from vitad_med.evaluation.truth import grey_images

Study = Callable[..., Any]


@pytest.fixture(scope="session")
def radiographs(nih_mini: Path) -> tuple[list[Case], np.ndarray]:
    """The embedded normal images, one a patient: cases and float32 [N, 112, 112]."""
    cases = [case for case in read_chestxray14(nih_mini) if case.label == 0]
    return cases, grey_images(cases, 112)


def test_statistics_of_an_image_by_hand() -> None:
    image = np.array([[0.0, 0.5], [1.0, 0.0]])
    found = intensity_statistics(image)
    assert found["intensity mean"] == 0.375
    assert found["intensity standard deviation"] == pytest.approx(np.sqrt(0.171875), abs=1e-6)
    assert found["intensity median"] == 0.25
    assert found["intensity 99th percentile"] == pytest.approx(0.985)
    assert found["edge strength"] == 0.75  # within columns 1 and .5, within rows .5 and 1
    assert intensity_statistics(np.array([[0.0, 0.0], [1.0, 1.0]]))["edge strength"] == 0.5
    for broken in (image[None], np.full((2, 2), np.nan), np.zeros((1, 5))):
        with pytest.raises(DataError):
            intensity_statistics(broken)


def test_the_same_population_has_not_shifted(study: Study, calibration: Calibration) -> None:
    found = drift(*study(80, 30), calibration)
    assert found["rows"][0]["quantity"] == "score"
    assert len(found["rows"]) == 7
    assert not any(row["shifted"] for row in found["rows"])
    assert found["sentence"].startswith("No shift was found, comparing 80 patients of this run with 70")
    assert found["calibration_digest"] == calibration.digest


def test_false_alarms_are_rare(study: Study, calibrate: Callable[..., Calibration]) -> None:
    """Holm over seven quantities that move together: at most 5 % of studies, repeated patients or not."""
    shifted = 0
    for seed in range(200):
        reference = calibrate(*study(60, 40_000 + seed), check_fraction=0.0)
        shifted += any(row["shifted"] for row in drift(*study(60, 50_000 + seed), reference)["rows"])
    assert shifted / 200 <= 0.08  # 5 % + two standard errors


def test_a_moved_population_has(study: Study, calibration: Calibration) -> None:
    found = drift(*study(80, 31, shift=1.5), calibration)
    assert all(row["shifted"] for row in found["rows"])
    assert "calibrate again" in found["sentence"]
    assert "score, intensity mean" in found["sentence"]
    row = found["rows"][0]
    assert row["run_median"] > row["reference_median"] + 1


def test_a_trifle_in_thousands_of_patients_is_no_shift(study: Study, calibrate: Callable[..., Calibration]) -> None:
    reference = calibrate(*study(4000, 35), check_fraction=0.0)
    row = drift(*study(4000, 36, shift=0.15), reference)["rows"][0]
    assert row["p_holm"] < 0.05
    assert row["psi"] < 0.1
    assert not row["shifted"]


def test_one_image_a_patient_and_normal_images_alone_are_compared(study: Study, calibration: Calibration) -> None:
    cases, scores, intensities = study(60, 32, abnormal=60)
    normal = [case.label == 0 for case in cases]
    found = drift(cases, scores, intensities, calibration)
    alone = drift(
        [case for case in cases if case.label == 0],
        scores[normal],
        {name: values[normal] for name, values in intensities.items()},
        calibration,
    )
    assert found == alone
    assert "60 patients" in found["sentence"]
    sick = drift([replace(c, label=1) for c in cases], scores, intensities, calibration)
    assert "No image of the run is known to be normal" in sick["sentence"]
    assert sick["rows"][0]["shifted"]


def test_figures_of_a_row_by_another_route(study: Study, calibrate: Callable[..., Calibration]) -> None:
    reference = calibrate(*study(50, 33), check_fraction=0.0)
    cases, scores, intensities = study(40, 34, shift=0.3)
    first = [case.patient_id for case in cases]
    once = [i for i, patient in enumerate(first) if first.index(patient) == i]
    cases, scores = [cases[i] for i in once], scores[once]
    intensities = {name: values[once] for name, values in intensities.items()}
    rows = drift(cases, scores, intensities, reference)["rows"]
    exact = [ks_2samp(reference.scores, scores, method="exact")]
    exact += [ks_2samp(reference.intensities[name], values, method="exact") for name, values in intensities.items()]
    p_values = np.array([test.pvalue for test in exact])
    assert [row["p"] for row in rows] == pytest.approx(p_values, abs=1e-6)
    assert [row["ks"] for row in rows] == pytest.approx([test.statistic for test in exact], abs=1e-6)
    smallest = int(np.argmin(p_values))
    assert rows[smallest]["p_holm"] == pytest.approx(min(1, p_values.min() * 7), abs=1e-5)
    assert all(row["p_holm"] >= row["p"] for row in rows)


def test_stability_index() -> None:
    generator = np.random.default_rng(0)
    reference = generator.normal(size=5000)
    assert stability_index(reference, reference) == 0
    assert stability_index(reference, generator.normal(size=5000)) < 0.02
    # A normal moved by d has the index d^2 in the limit of many bins.
    assert stability_index(reference, generator.normal(0.5, size=5000)) == pytest.approx(0.25, abs=0.05)
    assert np.isfinite(stability_index(reference, np.full(20, 99.0)))
    assert stability_index(np.zeros(50), np.zeros(20)) < 0.02


@pytest.mark.parametrize(
    ("name", "change", "moved"),
    [
        ("inverted", lambda x: 1 - x, "intensity 1st percentile"),
        ("gamma 2", lambda x: x**2, "intensity median"),
        ("smoothed", lambda x: resize(resize(x, 28), 112), "edge strength"),
    ],
)
def test_radiographs_that_another_conversion_changed(
    radiographs: Any, calibrate: Callable[..., Calibration], name: str, change: Any, moved: str
) -> None:
    cases, images = radiographs
    scores = images.mean(axis=(1, 2)).astype(np.float64)  # any score will do
    half = np.arange(len(cases)) % 2 == 0
    reference = calibrate(
        [case for case, inside in zip(cases, half, strict=True) if inside],
        scores[half],
        intensity_table(images[half]),
        check_fraction=0.0,
    )
    rest = [case for case, inside in zip(cases, half, strict=True) if not inside]
    same = drift(rest, scores[~half], intensity_table(images[~half]), reference)
    assert not any(row["shifted"] for row in same["rows"])
    other = drift(rest, scores[~half], intensity_table(change(images[~half])), reference)
    assert moved in [row["quantity"] for row in other["rows"] if row["shifted"]]


def test_negatives_and_another_exposure_among_radiographs_are_found(radiographs: Any) -> None:
    _, images = radiographs
    found = unlike(intensity_table(images), resize(images, 16))
    assert "layout" not in found
    mixed = images.copy()
    mixed[:3] = 1 - mixed[:3]
    found = unlike(intensity_table(mixed), resize(mixed, 16))
    assert found["layout"].tolist() == [0, 1, 2]
    dark = images.copy()
    dark[5] /= 16  # 12 bits stored in 16
    assert 5 in unlike(intensity_table(dark), resize(dark, 16))["intensity standard deviation"]
    assert not unlike(intensity_table(mixed[:9]), resize(mixed[:9], 16))
    assert layout_correlation(np.zeros((3, 4, 4))).tolist() == [0, 0, 0]


def test_a_file_that_is_there_twice_is_found(radiographs: Any, tmp_path: Path) -> None:
    cases, _ = radiographs
    assert not len(copies(cases))
    again = tmp_path / "again.jpg"
    again.write_bytes(cases[4].image_path.read_bytes())
    twice = [replace(cases[0], case_id="zz", patient_id="zz", image_path=again), *cases]
    assert copies(twice).tolist() == [0]
    with pytest.raises(DataError, match="Cannot read"):
        copies([replace(cases[0], image_path=tmp_path / "absent.jpg")])
    assert patients_known(cases)
    assert not patients_known([replace(case, patient_id=case.case_id) for case in cases])
