"""What objects take over of the radiograph that was scored: whom and which study they belong to, how it is stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless

from vitad_med.data.dicom.pixels import is_inverted
from vitad_med.data.dicom.quiet import quiet
from vitad_med.errors import DataError
from vitad_med.findings.deidentify import keep_known_terms, keyed_study, replace_uids
from vitad_med.findings.raw import copy_elements
from vitad_med.findings.spacing import Spacing, aspect_ratio, read_spacing
from vitad_med.site.key import SiteKey

PATIENT_REQUIRED = ("PatientName", "PatientID", "PatientBirthDate", "PatientSex")
STUDY_REQUIRED = ("StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName", "StudyID")
"""Type 2 of PS3.3 C.7.1.1 and C.7.2.1: there, though the source may not know them and they are empty."""

PATIENT_AND_STUDY = (
    *PATIENT_REQUIRED,
    # Patient, PS3.3 C.7.1.1
    *("ReferencedPatientSequence", "IssuerOfPatientID", "TypeOfPatientID", "IssuerOfPatientIDQualifiersSequence"),
    *("SourcePatientGroupIdentificationSequence", "GroupOfPatientsIdentificationSequence", "PatientBirthTime"),
    *("PatientBirthDateInAlternativeCalendar", "PatientDeathDateInAlternativeCalendar", "PatientAlternativeCalendar"),
    *(
        "QualityControlSubject",
        "OtherPatientNames",
        "OtherPatientIDsSequence",
        "EthnicGroup",
        "EthnicGroupCodeSequence",
    ),
    *("PatientSpeciesDescription", "PatientSpeciesCodeSequence", "PatientBreedDescription", "PatientBreedCodeSequence"),
    *("BreedRegistrationSequence", "StrainDescription", "StrainNomenclature", "StrainStockSequence"),
    *("StrainAdditionalInformation", "StrainCodeSequence", "GeneticModificationsSequence", "ResponsiblePerson"),
    *("ResponsiblePersonRole", "ResponsibleOrganization", "PatientComments", "PatientIdentityRemoved"),
    *("DeidentificationMethod", "DeidentificationMethodCodeSequence"),
    # Clinical trial subject and study, PS3.3 C.7.1.3 and C.7.2.3
    *("ClinicalTrialSponsorName", "ClinicalTrialProtocolID", "ClinicalTrialProtocolName", "ClinicalTrialSiteID"),
    *("ClinicalTrialSiteName", "ClinicalTrialSubjectID", "ClinicalTrialSubjectReadingID"),
    *("ClinicalTrialProtocolEthicsCommitteeName", "ClinicalTrialProtocolEthicsCommitteeApprovalNumber"),
    *("ClinicalTrialTimePointID", "ClinicalTrialTimePointDescription", "LongitudinalTemporalOffsetFromEvent"),
    *("LongitudinalTemporalEventType", "ConsentForClinicalTrialUseSequence"),
    *STUDY_REQUIRED,
    # General study, PS3.3 C.7.2.1
    *("StudyInstanceUID", "IssuerOfAccessionNumberSequence", "ReferringPhysicianIdentificationSequence"),
    *("ConsultingPhysicianName", "ConsultingPhysicianIdentificationSequence", "StudyDescription"),
    *("ProcedureCodeSequence", "PhysiciansOfRecord", "PhysiciansOfRecordIdentificationSequence"),
    *("NameOfPhysiciansReadingStudy", "PhysiciansReadingStudyIdentificationSequence", "ReferencedStudySequence"),
    *("RequestingService", "RequestingServiceCodeSequence", "ReasonForPerformedProcedureCodeSequence"),
    # Patient study, PS3.3 C.7.2.2
    *("AdmittingDiagnosesDescription", "AdmittingDiagnosesCodeSequence", "PatientAge", "PatientSize"),
    *("PatientSizeCodeSequence", "PatientBodyMassIndex", "MeasuredAPDimension", "MeasuredLateralDimension"),
    *("PatientWeight", "MedicalAlerts", "Allergies", "Occupation", "SmokingStatus", "AdditionalPatientHistory"),
    *("PregnancyStatus", "LastMenstrualDate", "PatientSexNeutered", "ReasonForVisit", "ReasonForVisitCodeSequence"),
    *("AdmissionID", "IssuerOfAdmissionIDSequence", "ServiceEpisodeID", "ServiceEpisodeDescription"),
    *("IssuerOfServiceEpisodeIDSequence", "PatientState"),
    # SOP common, PS3.3 C.12.1: how the texts above are written, and what zone their times are in
    *("SpecificCharacterSet", "TimezoneOffsetFromUTC"),
)
"""What describes patient and study, and so must be the same in each object of the study."""

_STORED_AS = (
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality", "InstanceNumber"),
    *("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored", "PixelRepresentation"),
    *("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod", "BurnedInAnnotation"),
    *(
        "PatientOrientation",
        "Laterality",
        "ImageLaterality",
        "RescaleIntercept",
        "RescaleSlope",
        "RescaleType",
        "ModalityLUTSequence",
    ),
    *("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence"),
    *("PixelSpacing", "PixelSpacingCalibrationType", "ImagerPixelSpacing", "PixelAspectRatio"),
)
"""What objects need of the image itself; none of it is free text."""

_CALIBRATION = ("PixelSpacing", "PixelSpacingCalibrationType")

_UNITS = ("OD", "HU", "US")
"""Defined terms of RescaleType and ModalityLUTType for radiographs (PS3.3 C.11.1.1.2); US is unspecified."""

_UIDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")


@dataclass(frozen=True, slots=True)
class Source:
    """A radiograph as objects refer to it.

    Attributes:
        image: its UIDs, geometry, encoding and window; describes no patient. Empty elements stand where patient and
            study do, for libraries that look there.
        about: patient and study, as bytes; or what stands in their place.
        spacing: millimetres of a pixel, or None.
        aspect: height and width of a pixel in whole numbers; None for square ones.
        inverted: it is stored light to dark.
        deidentified: whether nothing of the patient is left.
    """

    image: Dataset
    about: Dataset
    spacing: Spacing | None
    aspect: tuple[int, int] | None
    inverted: bool
    deidentified: bool

    @property
    def uid(self) -> str:
        """SOP Instance UID of the radiograph, or what stands for it."""
        return str(self.image.SOPInstanceUID)

    @property
    def study(self) -> str:
        """Study Instance UID, or what stands for it."""
        return str(self.image.StudyInstanceUID)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return int(self.image.Rows), int(self.image.Columns)

    def clock(self, moment: datetime) -> datetime:
        """A moment in the zone that the file's times are in; in UTC where it does not tell."""
        try:
            offset = str(self.about.get("TimezoneOffsetFromUTC") or "").strip()
            minutes = int(offset[1:3]) * 60 + int(offset[3:5])
            return moment.astimezone(timezone(timedelta(minutes=-minutes if offset[0] == "-" else minutes)))
        except (IndexError, ValueError):
            return moment.astimezone(UTC)


def read_source(path: Path, key: SiteKey | None = None) -> Source:
    """Read the header of a radiograph; its pixels are not looked at.

    Args:
        path: a file that triage accepts.
        key: of the site; given, nothing of the patient is taken over (:mod:`vitad_med.findings.deidentify`).

    Raises:
        DataError: it cannot be read, or has no UID for its class, itself, its series or its study, without which no
            object can refer to it.
    """
    with quiet():
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True)
            image = _plain(copy_elements(header, _STORED_AS))
            _tell_of_loss(image, header.file_meta.get("TransferSyntaxUID"), path)
            int(image.Rows), int(image.Columns)
        except Exception as error:  # pydicom raises a dozen kinds on damaged files
            raise DataError(f"its header cannot be read: {type(error).__name__}") from error
        for keyword in _UIDS:
            if not image.get(keyword):
                raise DataError(
                    f"it has no {keyword}, without which no DICOM object can refer to it; leave out these outputs"
                )
        about = copy_elements(header, PATIENT_AND_STUDY)
        if key is not None:
            about = keyed_study(header, key)
            replace_uids(image, key)
            keep_known_terms(image)
        for keyword in (*PATIENT_REQUIRED, *STUDY_REQUIRED):
            if keyword not in about:
                setattr(about, keyword, None)
            setattr(image, keyword, None)
        spacing, aspect = read_spacing(image), aspect_ratio(image)
        if spacing is None or spacing.source == "DETECTOR":  # what is not calibrated must not measure anything
            for keyword in _CALIBRATION:
                if keyword in image:
                    delattr(image, keyword)
    return Source(image, about, spacing, aspect, is_inverted(header), key is not None)


_LOSSY: Mapping[str, str] = {
    JPEGBaseline8Bit: "ISO_10918_1",
    JPEGExtended12Bit: "ISO_10918_1",
    JPEGLSNearLossless: "ISO_14495_1",
}
"""Transfer syntaxes that always lose, and their methods (PS3.3 C.7.6.1.1.5.1)."""


def _tell_of_loss(image: Dataset, syntax: str | None, path: Path) -> None:
    """Say that pixels were compressed with loss where the encoding proves it, though the header forgets to."""
    if syntax is None or syntax not in _LOSSY or image.get("LossyImageCompression") == "01":
        return
    stored = int(image.Rows) * int(image.Columns) * int(image.BitsAllocated) // 8
    image.LossyImageCompression = "01"
    image.LossyImageCompressionRatio = f"{stored / path.stat().st_size:.3g}"
    image.LossyImageCompressionMethod = _LOSSY[syntax]


def _plain(image: Dataset) -> Dataset:
    """Values in place of bytes, without those that are damaged, and without free text."""
    for tag in list(image.keys()):
        try:
            _ = image[tag]
        except Exception:  # pydicom raises a dozen kinds on damaged elements
            del image[tag]
    for item in (image, *image.get("ModalityLUTSequence", ()), *image.get("VOILUTSequence", ())):
        if "LUTExplanation" in item:
            del item.LUTExplanation
        for keyword in ("RescaleType", "ModalityLUTType"):
            if keyword in item and item.get(keyword) not in _UNITS:
                setattr(item, keyword, "US")
    return image
