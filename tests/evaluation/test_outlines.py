"""AUPRO stands in the document where the truth is pixel-exact, and only there."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from vitad_med.data.case import Case
from vitad_med.evaluation.document import OUTLINE_METRICS, Document
from vitad_med.evaluation.null_maps import MAPS, builders
from vitad_med.evaluation.summary import summarize
from vitad_med.evaluation.table import print_table
from vitad_med.evaluation.truth import truth_masks
from vitad_med.metrics.aupro import aupro, aupro_contributions

SIZE = 24
NAMES = {"bundle": "test", "model_digest": "m", "data_digest": "d"}


@pytest.fixture(scope="module")
def outlined(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Case], np.ndarray]:
    """Thirty images with outlined scratches or dents, two regions in each third image, and maps that see some."""
    folder = tmp_path_factory.mktemp("outlined")
    rng = np.random.default_rng(0)
    cases = []
    for number in range(45):
        image, mask = folder / f"{number}.png", folder / f"{number}_mask.png"
        Image.fromarray(rng.integers(0, 256, (SIZE, SIZE), dtype=np.uint8)).save(image)
        truth = np.zeros((SIZE, SIZE), dtype=np.uint8)
        truth[number % 10 : number % 10 + 5, 2:7] = 255
        truth[15:18, 15 : 18 + number % 4] = 255 * (number % 3 == 0)
        Image.fromarray(truth).save(mask)
        bad = number >= 15
        known = {"findings": ("scratch" if number % 2 else "dent",), "mask_path": mask} if bad else {}
        cases.append(Case(f"{number}", f"{number}", image, "mvtec", "test", int(bad), **known))
    masks = truth_masks(cases[15:], SIZE)
    return cases, rng.normal(size=masks.shape).astype(np.float32) + masks


@pytest.fixture(scope="module")
def document(outlined: tuple[list[Case], np.ndarray]) -> Document:
    cases, maps = outlined
    return summarize(cases, np.arange(45.0), maps, eval_size=SIZE, replicates=100, by=[("finding",)], **NAMES)


def test_aupro_of_the_set_and_of_a_cohort_at_the_rates_of_the_set(
    outlined: tuple[list[Case], np.ndarray], document: Document
) -> None:
    cases, maps = outlined
    masks = truth_masks(cases[15:], SIZE)
    figure = document["cohorts"]["all"]["metrics"]["aupro"]
    assert figure["value"] == pytest.approx(aupro(maps, masks), abs=1e-6)
    assert figure["n"] == 30
    low, high = figure["low"], figure["high"]
    assert low is not None
    assert high is not None
    assert low < aupro(maps, masks) < high

    scratched = np.array([case.findings == ("scratch",) for case in cases[15:]])
    value = document["cohorts"]["finding=scratch"]["metrics"]["aupro"]["value"]
    assert value == pytest.approx(aupro(maps[scratched], masks[scratched]), abs=1e-6)
    assert value != pytest.approx(aupro_contributions(maps, masks).aupro(scratched), abs=1e-6)


def test_null_maps_have_it_too_but_the_box_prior(outlined: tuple[list[Case], np.ndarray], document: Document) -> None:
    cases, _ = outlined
    masks = truth_masks(cases[15:], SIZE)
    nulls = document["cohorts"]["all"]["nulls"]
    assert nulls["box_prior"]["aupro"] is None
    images = np.stack([np.asarray(Image.open(case.image_path), dtype=np.float32) / 255 for case in cases[15:]])
    own = builders(masks, images, [case.patient_id for case in cases[15:]])
    for name in MAPS:
        if name != "box_prior":
            assert nulls[name]["aupro"] == pytest.approx(aupro(own[name](), masks), abs=1e-6), name


def test_boxes_have_none(study: Any) -> None:
    document = summarize(study.cases, study.scores, study.maps, eval_size=study.size, replicates=20, **NAMES)
    for cohort in document["cohorts"].values():
        assert not set(OUTLINE_METRICS) & {*cohort["metrics"], *cohort["nulls"]["brightness"]}
    assert "AUPRO" not in printed(document)


def test_the_terminal_shows_it_instead_of_the_pointing_game(document: Document) -> None:
    text = printed(document)
    assert "AUPRO" in text
    assert "pointing game" not in text


def printed(document: Document) -> str:
    console = Console(file=io.StringIO(), width=100)
    print_table(document, console)
    return console.file.getvalue()  # type: ignore[attr-defined]
