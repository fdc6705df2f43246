"""What the structured report says, in numbers and in words; never of a disease."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset

from vitad_med.findings.finding import Finding, Provenance
from vitad_med.findings.objects import make_objects

SCHEME = "99VITADMED"


@pytest.fixture
def report_of(write, provenance: Provenance):
    def made(finding: Finding, path: Path | None = None) -> hd.sr.ComprehensiveSR:
        file = make_objects(path or write(), finding, provenance, ["sr"], picture=None)["sr"]
        return hd.sr.srread(io.BytesIO(file))

    return made


def numbers(group) -> dict[str, tuple[float, str]]:
    """Value and unit of each measurement, by the value of its code."""
    return {one.name.value: (one.value, one.unit.value) for one in group.get_measurements()}


def image_group(report: hd.sr.ComprehensiveSR):
    (group,) = report.content.get_image_measurement_groups()
    return group


def words(report: hd.sr.ComprehensiveSR) -> str:
    (comment,) = hd.sr.utils.find_content_items(
        image_group(report)[0], name=hd.sr.CodedConcept("121106", "DCM", "Comment")
    )
    return comment.value


def results(report: hd.sr.ComprehensiveSR) -> dict[str, str]:
    evaluations = image_group(report).get_qualitative_evaluations()
    # highdicom counts the family of the algorithm, which is coded too, among them.
    return {one.name.value: one.value.value for one in evaluations if one.name.scheme_designator == SCHEME}


def test_a_flagged_image(report_of, flagged: Finding) -> None:
    report = report_of(flagged)
    assert numbers(image_group(report)) == {
        "SCORE": (0.873457, "{score}"),
        "THRESHOLD": (0.61, "{score}"),
        "P_VALUE": (0.0123, "1"),
    }
    assert results(report) == {"RESULT": "FLAGGED"}
    assert words(report).startswith(
        "Flagged by anomaly detection: the anomaly score 0.873457 is above the threshold 0.61. One region is outlined"
    )
    (region,) = report.content.get_planar_roi_measurement_groups()
    assert region.finding_type == hd.sr.CodedConcept("REGION", SCHEME, "Region flagged by anomaly detection")
    measured = numbers(region)
    assert measured["PEAK"] == (pytest.approx(0.9), "{score}")
    assert measured["AREA"][1] == "{pixels}"
    assert measured["AREA"][0] == pytest.approx(0.05 * 240 * 160, rel=0.5)


@pytest.mark.parametrize(
    ("changes", "result", "start", "has", "lacks"),
    [
        (
            {"flagged": False, "score": 0.2, "p_value": 0.7},
            {"RESULT": "NOT_FLAGGED"},
            "Nothing flagged by anomaly detection: the anomaly score 0.2 is not above the threshold 0.61.",
            {"SCORE", "THRESHOLD", "P_VALUE"},
            "no calibration",
        ),
        (
            {"flagged": None, "threshold": None, "p_value": None},
            {"RESULT": "NO_THRESHOLD"},
            "The anomaly score of this radiograph is 0.873457. This run has no calibration and so no threshold: "
            "the image is neither flagged nor not flagged.",
            {"SCORE"},
            "Nothing flagged",
        ),
        (
            {"flagged": None, "score": 0.999969, "threshold": 0.5, "p_value": None},
            {"RESULT": "NOT_JUDGED"},
            "Not judged by anomaly detection: the image is outside of the bundle's intended use, for which the "
            "threshold 0.5 was made. Its anomaly score is 0.999969; it is neither flagged nor not flagged.",
            {"SCORE", "THRESHOLD"},
            "not above",
        ),
        (
            {"p_value": None},
            {"RESULT": "FLAGGED", "USE": "OUTSIDE_USE"},
            "Flagged by anomaly detection:",
            {"SCORE", "THRESHOLD"},
            "no calibration",
        ),
        (
            {"flagged": False, "score": 0.2, "p_value": None},
            {"RESULT": "NOT_FLAGGED", "USE": "OUTSIDE_USE"},
            "Nothing flagged by anomaly detection:",
            {"SCORE", "THRESHOLD"},
            "no calibration",
        ),
    ],
)
def test_every_other_result(report_of, flagged: Finding, changes, result, start, has, lacks) -> None:
    report = report_of(replace(flagged, **changes))
    assert results(report) == result
    assert set(numbers(image_group(report))) == has
    text = words(report)
    assert text.startswith(start)
    assert lacks not in text
    assert ("outside of what the algorithm is intended for" in text) == ("USE" in result)
    assert text.endswith("An anomaly score is not the probability of a disease. Not for clinical use.")
    assert bool(report.content.get_planar_roi_measurement_groups()) == (result["RESULT"] == "FLAGGED")


def test_the_document_is_unverified_and_says_whose_codes_it_uses(report_of, flagged: Finding) -> None:
    report = report_of(flagged)
    assert (report.VerificationFlag, report.CompletionFlag, report.PreliminaryFlag) == (
        "UNVERIFIED",
        "COMPLETE",
        "PRELIMINARY",
    )
    (scheme,) = report.CodingSchemeIdentificationSequence
    assert scheme.CodingSchemeDesignator == SCHEME
    assert scheme.CodingSchemeResponsibleOrganization == "vitad_med"
    schemes = {
        item.CodingSchemeDesignator
        for item in _items(report)
        if "CodeValue" in item and "CodingSchemeDesignator" in item
    }
    assert schemes == {"DCM", "SCT", "UCUM", "RFC5646", SCHEME}
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"


def _items(dataset: Dataset) -> list[Dataset]:
    found = [dataset]
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                found += _items(item)
    return found


def test_the_algorithm_is_identified_by_its_digests(report_of, flagged: Finding, provenance: Provenance) -> None:
    texts = [str(item.get("TextValue")) for item in _items(report_of(flagged))]
    assert provenance.method in texts
    assert provenance.version in texts
    for name in ("model", "config", "calibration", "software"):
        assert f"{name} SHA-256: {getattr(provenance, f'{name}_digest')}" in texts
    assert f"score: {provenance.score_rule}" in texts


@pytest.mark.parametrize(
    ("elements", "name", "mm2"),
    [
        ({}, None, None),
        ({"ImagerPixelSpacing": [0.5, 0.25]}, "AREA_DETECTOR", 0.125),
        ({"PixelSpacing": [0.4, 0.2], "PixelSpacingCalibrationType": "GEOMETRY"}, "AREA_GEOMETRY", 0.08),
        ({"PixelSpacing": [0.4, 0.2], "PixelSpacingCalibrationType": "FIDUCIAL"}, "AREA_FIDUCIAL", 0.08),
        ({"PixelSpacing": [0.4, 0.2]}, None, None),
    ],
)
def test_square_millimetres_say_where_they_come_from(
    report_of, write, flagged: Finding, elements, name: str | None, mm2: float | None
) -> None:
    def space(dataset: FileDataset) -> None:
        del dataset.ImagerPixelSpacing
        for keyword, value in elements.items():
            setattr(dataset, keyword, value)

    (region,) = report_of(flagged, write(space)).content.get_planar_roi_measurement_groups()
    measured = numbers(region)
    assert {one for one in measured if one.startswith("AREA_")} == ({name} if name else set())
    if name:
        assert measured[name] == (pytest.approx(measured["AREA"][0] * mm2, rel=1e-5), "mm2")


def test_regions_are_numbered_from_the_highest_peak(report_of, flagged: Finding) -> None:
    double = flagged.map.copy()
    double[20:24, 4:8] = 0.95
    groups = report_of(replace(flagged, map=double)).content.get_planar_roi_measurement_groups()
    assert [group.tracking_identifier for group in groups] == ["Region 1", "Region 2"]
    assert [numbers(group)["PEAK"][0] for group in groups] == pytest.approx([0.95, 0.9])


def test_no_word_of_certainty_or_disease(report_of, flagged: Finding) -> None:
    report = report_of(flagged)
    meanings = " ".join(str(item.get("CodeMeaning", "")) for item in _items(report)).lower()
    for word in ("certainty", "probability", "disease", "lesion", "mass", "nodule", "pneumonia", "neoplasm"):
        assert word not in meanings


def test_an_image_that_is_flat_says_why_nothing_is_outlined(report_of, flagged: Finding) -> None:
    flat = replace(flagged, map=flagged.map * 0)
    assert "No region is outlined, because the map is the same everywhere." in words(report_of(flat))


def test_a_score_keeps_six_digits_in_both_elements(report_of, flagged: Finding) -> None:
    items = [item for item in _items(report_of(flagged)) if "NumericValue" in item]
    (score,) = (item for item in items if item.NumericValue == pydicom.valuerep.DSfloat("0.873457"))
    assert score.FloatingPointValue == 0.873457
