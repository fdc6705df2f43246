"""What all objects of a radiograph share: their UIDs, series, equipment, dates, and how they become bytes."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.filewriter import correct_ambiguous_vr
from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless

from vitad_med.data.dicom.codes import MANUFACTURER
from vitad_med.findings.finding import Finding, Provenance
from vitad_med.findings.raw import keep_bytes
from vitad_med.findings.regions import Region
from vitad_med.findings.source import Source
from vitad_med.findings.uids import derived_uid

NOTICE = "not for clinical use"

NO_MOMENT = datetime(1900, 1, 1)
"""Stands where the standard wants a date and there is to be none (PS3.15 E.1.1: a dummy value)."""

UNCOMPRESSED = "uncompressed"

ENCODINGS: Mapping[str, str] = {UNCOMPRESSED: ExplicitVRLittleEndian, "jpegls": JPEGLSLossless}
"""Transfer syntaxes that pixels in colour or grey can have, all without loss, by the names that options have."""

SERIES: Mapping[str, tuple[int, str]] = {
    "sc": (9801, "Anomaly overlay"),
    "seg": (9802, "Anomaly regions"),
    "seg_fractional": (9803, "Anomaly map"),
    "sr": (9804, "Anomaly detection report"),
    "gsps": (9805, "Anomaly region outlines"),
}
"""SeriesNumber and SeriesDescription of each kind; the numbers put the series behind those of the modalities."""


@dataclass(frozen=True, slots=True, eq=False)
class Making:
    """What the objects of one radiograph are made of.

    Attributes:
        source: the radiograph.
        finding: what was found.
        provenance: what found it.
        regions: of the finding, at the radiograph's geometry.
        region_share: with which they were found.
        encoding: of pixels in colour or grey, one of :data:`ENCODINGS`.
    """

    source: Source
    finding: Finding
    provenance: Provenance
    regions: list[Region]
    region_share: float
    encoding: str = UNCOMPRESSED

    @property
    def moment(self) -> datetime:
        """When the objects were made; de-identified ones do not tell, a listener works minutes after the exposure."""
        return NO_MOMENT if self.source.deidentified else self.source.clock(self.provenance.created)

    def uid(self, role: str) -> str:
        """UID of an object of this radiograph, or of a part of one."""
        return derived_uid(role, self.source.uid, self.provenance, self.region_share, self.encoding)

    def tracking(self, number: int) -> tuple[str, str]:
        """UID and name by which all objects call a region, counted from 1."""
        return self.uid(f"region {number}"), f"Region {number}"

    def common(self, kind: str) -> dict[str, Any]:
        """Arguments of highdicom's constructors that are the same for each object."""
        number, description = SERIES[kind]
        moment = self.moment
        # A presentation state has a date of creation in place of one of its content.
        content = {"content_date": moment.strftime("%Y%m%d"), "content_time": moment.strftime("%H%M%S")}
        return {
            "series_instance_uid": derived_uid(
                f"series {kind}", self.source.study, self.provenance, self.region_share, self.encoding
            ),
            "series_number": number,
            "sop_instance_uid": self.uid(kind),
            "instance_number": max(1, int(self.source.image.get("InstanceNumber") or 1)),
            "manufacturer": MANUFACTURER,
            "manufacturer_model_name": self.provenance.method[:64],
            "software_versions": (self.provenance.version or "unknown")[:64],
            "device_serial_number": self.provenance.model_digest[:16] or "unknown",
            "series_description": f"{description}, {NOTICE}",
            **({} if kind == "gsps" else content),
        }


def copy_loss(image: Dataset, made: Dataset) -> None:
    """What the radiograph says of lossy compression holds for what is drawn from it (PS3.3 C.7.6.1.1.5)."""
    for keyword in ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        if keyword in image:
            made[keyword] = image[keyword]


def to_bytes(made: Dataset, making: Making) -> bytes:
    """The file of an object, after patient, study and dates are put in place of the library's.

    Args:
        made: by highdicom, which takes dates from the clock.
        making: what it was made of.
    """
    image = making.source.image
    if "PatientOrientation" in made or made.Modality == "SEG":  # of images; empty where the source does not tell
        made.PatientOrientation = image.get("PatientOrientation")
    if made.Modality in ("OT", "PR"):
        if image.get("ImageLaterality") and made.Modality == "OT":
            made.ImageLaterality = image.ImageLaterality
        else:
            made.Laterality = image.get("Laterality")
    moment = making.moment
    today, now = moment.strftime("%Y%m%d"), moment.strftime("%H%M%S")
    made.InstanceCreationDate, made.InstanceCreationTime = today, now
    for keyword, value in (
        *(("DateOfSecondaryCapture", today), ("TimeOfSecondaryCapture", now)),
        *(("PresentationCreationDate", today), ("PresentationCreationTime", now)),
    ):
        if keyword in made:
            setattr(made, keyword, value)
    for item in made.get("ContributingEquipmentSequence", ()):
        item.ContributionDateTime = today + now
    made = correct_ambiguous_vr(made, True)
    for tag in making.source.about.keys():  # noqa: SIM118 - iterating over a Dataset decodes its elements
        made[tag] = making.source.about.get_item(tag)
    keep_bytes(made)
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, made, enforce_file_format=True)
    return buffer.getvalue()
