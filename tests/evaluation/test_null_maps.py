"""The table of null maps in the evaluation protocol, and what its figures rest on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import rankdata

from vitad_med.data.case import Case
from vitad_med.data.chestxray14 import read_chestxray14
from vitad_med.errors import DataError
from vitad_med.evaluation import null_maps
from vitad_med.evaluation.document import Document
from vitad_med.evaluation.localization import MapFigures
from vitad_med.evaluation.summary import summarize
from vitad_med.evaluation.truth import grey_images, truth_masks

EXACT, IMAGE_BASED = 0.0005, 0.002
# pooled M, F; position M, F; conditioned M, F on the 440 boxed images of the development set.
TABLE = {
    "centre_blob": ((0.7796, 0.8118), (0.5, 0.5), (0.5, 0.5), EXACT),
    "brightness": ((0.5627, 0.5977), (0.5399, 0.5548), (0.5926, 0.5534), IMAGE_BASED),
    "brightness_ranked": ((0.5850, 0.5881), (0.5926, 0.5534), (0.5926, 0.5534), IMAGE_BASED),
    "mirror_difference": ((0.5606, 0.5558), (0.5663, 0.5620), (0.5665, 0.5596), IMAGE_BASED),
}
BOX_PRIOR = (0.8073, 0.8316)
BOX_AREA = ((0.7959, 0.7898), (0.8307, 0.8272), (0.5, 0.5))
POSITIVE_FRACTION = (0.08498, 0.07206)


def naive_figures(maps: np.ndarray, masks: np.ndarray) -> tuple[float, float, float]:
    """Pooled, position and conditioned AUROC by ranking, position by position: no code in common with the package."""

    def pooled(m: np.ndarray, k: np.ndarray) -> float:
        ranks, ones = rankdata(m.ravel()), int(k.sum())
        return (ranks[k.ravel()].sum() - ones * (ones + 1) / 2) / (ones * (k.size - ones))

    def by_position(m: np.ndarray, k: np.ndarray) -> float:
        m, k = m.reshape(len(m), -1), k.reshape(len(k), -1)
        ones = k.sum(0)
        wins = (rankdata(m, axis=0) * k).sum(0) - ones * (ones + 1) / 2
        return wins.sum() / (ones * (len(k) - ones)).sum()

    within = np.stack([rankdata(image.ravel()).reshape(image.shape) for image in maps])
    return pooled(maps, masks), by_position(maps, masks), by_position(within, masks)


@pytest.fixture(scope="module")
def boxed(shared_data: Path) -> list[Case]:
    cases = read_chestxray14(shared_data / "nih_cxr14_dev", section="test")
    return [case for case in cases if case.localized]


@pytest.fixture(scope="module")
def masks(boxed: list[Case]) -> np.ndarray:
    return truth_masks(boxed, 224)


def of_sex(cases: Sequence[Case], sex: str) -> np.ndarray:
    return np.array([case.sex == sex for case in cases])


@pytest.mark.slow
def test_the_whole_evaluation_prints_the_table_of_the_protocol(shared_data: Path) -> None:
    cases = read_chestxray14(shared_data / "nih_cxr14_dev", section="test")
    localized = sum(case.localized for case in cases)
    document = evaluate_constant(cases, localized)
    assert document["cohorts"]["sex=M"]["n_localized"] == 246
    assert document["cohorts"]["sex=F"]["n_localized"] == 194
    for column, key in enumerate(("sex=M", "sex=F")):
        nulls = document["cohorts"][key]["nulls"]
        for name, (pooled, position, conditioned, tolerance) in TABLE.items():
            assert nulls[name]["pixel_auroc"] == pytest.approx(pooled[column], abs=tolerance)
            assert nulls[name]["position_auroc"] == pytest.approx(position[column], abs=tolerance)
            assert nulls[name]["conditioned_auroc"] == pytest.approx(conditioned[column], abs=tolerance)
        assert nulls["box_prior"]["pixel_auroc"] == pytest.approx(BOX_PRIOR[column], abs=EXACT)
        assert nulls["box_prior"]["position_auroc"] is None
        assert nulls["box_prior"]["conditioned_auroc"] is None


def evaluate_constant(cases: list[Case], localized: int) -> Document:
    maps = np.zeros((localized, 224, 224), dtype=np.float32)
    digests = {"bundle": "none", "model_digest": "", "data_digest": ""}
    return summarize(cases, np.zeros(len(cases)), maps, by=(("sex",),), replicates=20, **digests)


def test_boxes_cover_the_fraction_of_the_protocol(boxed: list[Case], masks: np.ndarray) -> None:
    for sex, fraction in zip("MF", POSITIVE_FRACTION, strict=True):
        assert masks[of_sex(boxed, sex)].mean() == pytest.approx(fraction, abs=5e-6)


def test_blob_and_prior_score_the_pooled_figures_of_the_protocol(boxed: list[Case], masks: np.ndarray) -> None:
    blob = null_maps.centre_blob(len(boxed), 224)
    prior = null_maps.box_prior(masks, [case.patient_id for case in boxed])
    for column, sex in enumerate("MF"):
        index = of_sex(boxed, sex)
        pooled = [MapFigures(m, masks).values(index, ["pixel_auroc"])["pixel_auroc"] for m in (blob, prior)]
        assert pooled == pytest.approx([TABLE["centre_blob"][0][column], BOX_PRIOR[column]], abs=EXACT)


def test_box_area_as_a_constant_gains_all_but_the_conditioned_figure(boxed: list[Case], masks: np.ndarray) -> None:
    figures = MapFigures(null_maps.box_area_constant(masks), masks)
    for column, sex in enumerate("MF"):
        values = figures.values(of_sex(boxed, sex), ["pixel_auroc", "position_auroc", "conditioned_auroc"])
        assert list(values.values()) == pytest.approx([row[column] for row in BOX_AREA], abs=EXACT)


def test_figures_equal_plain_ranking_on_the_embedded_images(nih_mini: Path) -> None:
    cases = [case for case in read_chestxray14(nih_mini, section="test") if case.localized]
    assert len(cases) == 32
    masks, images = truth_masks(cases, 56), grey_images(cases, 56)
    built = null_maps.builders(masks, images, [case.patient_id for case in cases])
    assert tuple(built) == null_maps.MAPS
    for name, build in built.items():
        maps = build()
        for sex in "MF":
            index = of_sex(cases, sex)
            values = MapFigures(maps, masks).values(index, ["pixel_auroc", "position_auroc", "conditioned_auroc"])
            assert list(values.values()) == pytest.approx(naive_figures(maps[index], masks[index]), abs=1e-9), name


def test_ranking_brightness_changes_only_what_the_exposure_carries(nih_mini: Path) -> None:
    cases = [case for case in read_chestxray14(nih_mini, section="test") if case.localized]
    masks, images = truth_masks(cases, 56), grey_images(cases, 56)
    plain = MapFigures(null_maps.brightness(images), masks)
    ranked = MapFigures(null_maps.brightness_ranked(images), masks)
    everyone = np.ones(len(cases), dtype=bool)
    one, other = plain.values(everyone), ranked.values(everyone)
    assert one["conditioned_auroc"] == other["conditioned_auroc"] == other["position_auroc"]
    assert one["position_auroc"] != other["position_auroc"]


def test_the_prior_leaves_out_every_image_of_the_patient() -> None:
    masks = np.zeros((3, 2, 2), dtype=bool)
    masks[0, 0, 0] = masks[1, 0, 0] = masks[2, 1, 1] = True
    prior = null_maps.box_prior(masks, ["a", "a", "b"])
    np.testing.assert_array_equal(prior[0], [[0, 0], [0, 1]])
    np.testing.assert_array_equal(prior[1], prior[0])
    np.testing.assert_array_equal(prior[2], [[1, 0], [0, 0]])


def test_the_prior_of_one_patient_does_not_exist() -> None:
    with pytest.raises(DataError, match="two patients"):
        null_maps.box_prior(np.ones((2, 2, 2), dtype=bool), ["a", "a"])


def test_the_mirror_difference_keeps_its_sign() -> None:
    image = np.array([[[0.25, 0.5, 1.0]]])
    np.testing.assert_array_equal(null_maps.mirror_difference(image), [[[-0.75, 0, 0.75]]])


def test_the_blob_is_centred_and_symmetric() -> None:
    blob = null_maps.centre_blob(2, 4)
    assert blob.shape == (2, 4, 4)
    np.testing.assert_array_equal(blob[0], blob[0].T)
    np.testing.assert_array_equal(blob[0], blob[1, ::-1, ::-1])
    assert blob[0, 1, 1] == pytest.approx(np.exp(-2 * (0.125 / 0.3) ** 2), rel=1e-6)
