"""p-values and flags: only for images that the calibration is about, and only with the right calibration."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest

from vitad_med.calibration import write_calibration
from vitad_med.calibration.reference import build_calibration
from vitad_med.data.case import Case
from vitad_med.digests import config_digest
from vitad_med.errors import ConfigError
from vitad_med.scoring.bundle import load_bundle
from vitad_med.scoring.judgement import Judgement
from vitad_med.scoring.rows import known_manufacturer
from vitad_med.scoring.run import Scored

Score = Callable[..., Scored]


@pytest.fixture
def calibration(repo_root: Path, tmp_path: Path) -> Path:
    """Nineteen normal patients with scores .00, .05, ... .90; at a rate of .2 the threshold is the fourth highest."""
    bundle = load_bundle(repo_root / "bundles" / "attn_synth")
    digests = {
        "model_digest": bundle.model_digest,
        "pipeline_digest": config_digest(bundle.pipeline),
        "backend_digest": config_digest(bundle.backend),
    }
    cases = [Case(f"c{n}", f"p{n}", Path(), "dicom", "test", 0) for n in range(19)]
    made = build_calibration(cases, np.arange(19) * 0.05, {}, digests, false_positive_rate=0.2, check_fraction=0.0)
    write_calibration(tmp_path / "site.json", made)
    return tmp_path / "site.json"


def test_a_score_equal_to_the_threshold_is_not_flagged(calibration: Path) -> None:
    from vitad_med.calibration import read_calibration

    judgement = Judgement(read_calibration(calibration))
    assert judgement.threshold == pytest.approx(0.75)
    threshold = float(judgement.threshold or 0)
    assert judgement.of(threshold, within=True) == (pytest.approx(5 / 20), False)
    assert judgement.of(threshold + 1e-6, within=True) == (pytest.approx(4 / 20), True)
    assert judgement.of(2.0, within=True) == (pytest.approx(1 / 20), True)
    assert judgement.of(2.0, within=False) == (None, None)
    assert Judgement().of(2.0, within=True) == (None, None)
    assert Judgement().digest == ""


def test_a_calibrated_run(score: Score, calibration: Path, ward: Path, tmp_path: Path) -> None:
    children = tmp_path / "children"
    children.mkdir()
    for number, path in enumerate(sorted(ward.rglob("0*.dcm"))):
        dataset = pydicom.dcmread(path)
        dataset.PatientAge = "005Y" if number == 0 else "093Y"
        dataset.save_as(children / path.name)
    scored = score(source=children, calibration=calibration, outputs=("worklist", "report", "sr"))
    rows = list(csv.DictReader(io.StringIO((scored.out / "worklist.csv").read_text())))
    assert sorted(row["age"] for row in rows) == ["5", *["90"] * 6]
    threshold, reference = 0.75, np.arange(19) * 0.05
    for row in rows:
        if row["age"] == "5":
            assert (row["p_value"], row["flagged"], row["outside_intended_use"]) == ("", "", "age")
            continue
        value = float(row["score"])
        assert row["flagged"] == str(int(value > threshold))
        assert float(row["p_value"]) == pytest.approx((1 + np.sum(reference >= value)) / 20, rel=1e-5)
    assert {row["flagged"] for row in rows} == {"", "0", "1"}
    page = (scored.out / "report.html").read_text()
    assert re.search(r"at most 20\W{1,8}% are flagged too, on average", page)
    assert ("here it cannot be relied on, see Drift" in page) == ("Shifted against the calibration" in page)


def test_a_calibration_of_another_model_is_refused(score: Score, calibration: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="other settings"):
        score(calibration=calibration, window="none")
    with pytest.raises(ConfigError, match="other settings"):
        score(calibration=calibration, overrides={"amp": True})


def test_uids_of_objects_follow_from_what_made_them(score: Score, calibration: Path, tmp_path: Path) -> None:
    def uids(name: str, **changes: object) -> set[str]:
        scored = score(out=tmp_path / name, outputs=("worklist", "sr"), **changes)
        return {str(pydicom.dcmread(path).SOPInstanceUID) for path in scored.objects()}

    first = uids("first")
    assert len(first) == 7
    assert uids("again") == first
    assert not uids("calibrated", calibration=calibration) & first
    assert not uids("batches", batch_size=2) & first
    assert not uids("regions", region_share=0.1) & first


@pytest.mark.parametrize(
    ("text", "told"),
    [("Philips Medical Systems", "Philips"), ("SIEMENS", "Siemens"), ("", "unknown"), ("JONES^MARY", "other")],
)
def test_manufacturers_are_told_only_where_they_are_known(text: str, told: str) -> None:
    assert known_manufacturer(text) == told
