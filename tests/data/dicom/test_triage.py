"""What is scored, what is set aside, and what is outside of a bundle's intended use."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from vitad_med.data.dicom.codes import CR, DX_FOR_PROCESSING, MANUFACTURER, SECONDARY_CAPTURE
from vitad_med.data.dicom.header import read_header
from vitad_med.data.dicom.intended_use import IntendedUse
from vitad_med.data.dicom.triage import Aside, Note, judge
from vitad_med.data.dicom.views import view_of
from vitad_med.errors import ConfigError


def setting(**values: Any) -> Callable[[Dataset], None]:
    """A change that sets these attributes; None removes one."""

    def change(dataset: Dataset) -> None:
        for name, value in values.items():
            if value is None:
                del dataset[name]
            else:
                setattr(dataset, name, value)
        if "SOPClassUID" in values:
            dataset.file_meta.MediaStorageSOPClassUID = values["SOPClassUID"]

    return change


def coded(value: str) -> list[Dataset]:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", "?"
    return [item]


MAMMOGRAPHY = "1.2.840.10008.5.1.4.1.1.1.2"
CAPTURE = {"SOPClassUID": SECONDARY_CAPTURE, "Modality": "CR"}
NO_REGION = {"AnatomicRegionSequence": None, "BodyPartExamined": None}
NO_VIEW = {"ViewPosition": None, "ViewCodeSequence": None}


@pytest.mark.parametrize(
    ("values", "aside"),
    [
        ({}, None),
        ({"SOPClassUID": CR, "Modality": "CR"}, None),
        ({"BodyPartExamined": "thorax"}, None),
        ({"BodyPartExamined": None}, None),
        (NO_REGION, None),
        ({"Modality": None}, None),
        ({"Manufacturer": MANUFACTURER}, Aside.OWN_OUTPUT),
        ({"Modality": "MG"}, Aside.MODALITY),
        ({"SOPClassUID": MAMMOGRAPHY}, Aside.STORAGE_CLASS),
        (CAPTURE, None),
        ({**CAPTURE, "Modality": "OT"}, Aside.MODALITY),
        ({**CAPTURE, "Modality": None}, Aside.SECONDARY_CAPTURE),
        ({**CAPTURE, **NO_REGION}, Aside.SECONDARY_CAPTURE),
        ({**CAPTURE, "BodyPartExamined": "HAND"}, Aside.SECONDARY_CAPTURE),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, Aside.COLOUR),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, Aside.COLOUR),
        ({"NumberOfFrames": 2}, Aside.MULTI_FRAME),
        ({"Rows": 20_000, "Columns": 20_000}, Aside.TOO_LARGE),
        ({"Rows": 127}, Aside.TOO_SMALL),
        ({"Columns": 127}, Aside.TOO_SMALL),
        ({"Rows": 128}, None),
        ({"Rows": 512}, Aside.TRUNCATED),
        ({"BurnedInAnnotation": "YES"}, Aside.BURNED_IN),
        ({"BodyPartExamined": "HAND"}, Aside.BODY_PART),
        ({"BodyPartExamined": None, "AnatomicRegionSequence": coded("85562004")}, Aside.BODY_PART),
        ({"ViewPosition": "LL"}, Aside.LATERAL),
        ({**NO_VIEW, "ViewCodeSequence": coded("399173006")}, Aside.LATERAL),
        ({**NO_VIEW, "SeriesDescription": "Thorax seitlich"}, Aside.LATERAL),
        ({**NO_VIEW, "SeriesDescription": "Thorax seitl."}, Aside.LATERAL),
        ({"PixelData": None}, Aside.NOT_AN_IMAGE),
    ],
)
def test_every_kind_of_file_gets_its_answer(write, values: dict[str, Any], aside: Aside | None) -> None:
    values = {k: v for k, v in values.items() if not (k in NO_VIEW and v is None and values.get(k) is not None)}
    verdict = judge(read_header(write(change=setting(**values))))
    assert verdict.aside == aside, verdict
    assert bool(verdict.detail) is (aside is not None)


def test_notes(write) -> None:
    assert judge(read_header(write())).notes == ()
    for values in ({"PresentationIntentType": "FOR PROCESSING"}, {"SOPClassUID": DX_FOR_PROCESSING}):
        assert judge(read_header(write(change=setting(**values)))).notes == (Note.FOR_PROCESSING,)
    assert judge(read_header(write(change=setting(**CAPTURE)))).notes == (Note.SECONDARY_CAPTURE,)


@pytest.mark.parametrize(
    ("values", "view"),
    [
        ({}, "PA"),
        ({"ViewPosition": "AP"}, "AP"),
        ({"ViewPosition": "RLO"}, "unknown"),
        ({**NO_VIEW, "ViewCodeSequence": coded("R-10206")}, "AP"),
        ({**NO_VIEW, "ViewCodeSequence": coded("399182000"), "SeriesDescription": "PA"}, "unknown"),
        ({**NO_VIEW, "SeriesDescription": "CHEST PA"}, "PA"),
        ({**NO_VIEW, "ProtocolName": "Thorax a.p. im Liegen"}, "AP"),
        ({**NO_VIEW, "SeriesDescription": "W033 LAT2"}, "lateral"),
        ({**NO_VIEW, "SeriesDescription": "胸部側面"}, "lateral"),
        ({**NO_VIEW, "SeriesDescription": "Thorax de profil"}, "lateral"),
        ({**NO_VIEW, "SeriesDescription": "Chest standard profile"}, "unknown"),
        # Several images, or words that only look like a projection.
        ({**NO_VIEW, "SeriesDescription": "PA and LAT"}, "unknown"),
        ({**NO_VIEW, "SeriesDescription": "Plate, follow-up, space"}, "unknown"),
        (NO_VIEW, "unknown"),
    ],
)
def test_views(write, values: dict[str, Any], view: str) -> None:
    assert view_of(read_header(write(change=setting(**values)))) == view


def test_details_hold_nothing_that_a_person_typed(write) -> None:
    path = write(change=setting(BodyPartExamined="DOE^JOHN <b>"))
    verdict = judge(read_header(path))
    assert verdict.aside == Aside.BODY_PART
    assert verdict.detail == "a body part that is not the chest"


@pytest.mark.parametrize(
    ("values", "detail"),
    [
        ({"Modality": "DOE^JOHN"}, "modality of another name, not CR or DX"),
        ({"Modality": "MG"}, "modality MG, not CR or DX"),
        ({"PhotometricInterpretation": "DOE^JOHN"}, "1 samples a pixel, photometric of another name"),
        ({"SOPClassUID": "1.2.3.19570313"}, "storage class of another name"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, "storage class CT Image Storage"),
    ],
)
def test_coded_values_are_told_only_where_the_standard_defines_them(write, values: dict[str, str], detail: str) -> None:
    assert judge(read_header(write(change=setting(**values)))).detail == detail


def test_intended_use_of_a_bundle(repo_root: Path) -> None:
    metadata = json.loads((repo_root / "bundles" / "attn_synth" / "configs" / "metadata.json").read_text())
    use = IntendedUse.of_metadata(metadata)
    assert use == IntendedUse(("CR", "DX"), ("PA", "AP"), 18, None)
    assert use.outside("DX", "PA", 18.0) == ()
    assert use.outside("DX", "AP", 99.0) == ()
    assert use.outside("DX", "PA", 17.9) == ("age",)
    assert use.outside("", "unknown", None) == ("modality_unknown", "view_unknown", "age_unknown")
    assert use.outside("MG", "lateral", 40.0) == ("modality", "view")
    assert IntendedUse().outside("", "unknown", None) == ()


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ({"ages": {"youngest": 18}}, "no unit 'years'"),
        ({"ages": {"unit": "years", "oldest": "old"}}, "ages.oldest must be null or years"),
        ({"views": "PA"}, "views must be a list of texts"),
    ],
)
def test_a_declaration_that_cannot_be_read_is_named(image: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        IntendedUse.of_metadata({"network_data_format": {"inputs": {"image": image}}})
