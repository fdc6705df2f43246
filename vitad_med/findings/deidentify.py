"""What stands for a patient and a study where objects leave the site: nothing of them but keyed names.

After the Basic Application Level Confidentiality Profile of PS3.15 Annex E, without its options: what objects take over
of patient and study is not cleaned element by element but left out, and only what the profile lets stand is written.
"""

from __future__ import annotations

import re

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from vitad_med.data.dicom.header import patient_identifier
from vitad_med.findings.uids import keyed_uid
from vitad_med.site.key import SiteKey

_PROFILE = ("113100", "DCM", "Basic Application Confidentiality Profile")


def keyed_study(header: Dataset, key: SiteKey) -> Dataset:
    """Patient and study modules that name the patient by the key alone.

    The name is that of the worklist, so that ``vitad-med lookup`` leads back from it.
    """
    identifier = patient_identifier(header) or str(header.get("StudyInstanceUID") or header.get("SOPInstanceUID") or "")
    about = Dataset()
    about.SpecificCharacterSet = "ISO_IR 192"
    about.PatientName = about.PatientID = key.name("patient", identifier)
    about.StudyInstanceUID = keyed_uid(str(header.StudyInstanceUID), key)
    about.PatientIdentityRemoved = "YES"
    about.DeidentificationMethod = "vitad_med: patient and study left out, UIDs and ID keyed"
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = _PROFILE
    about.DeidentificationMethodCodeSequence = [code]
    about.LongitudinalTemporalInformationModified = "REMOVED"
    return about


def replace_uids(image: Dataset, key: SiteKey) -> None:
    """Put keyed UIDs in place of those of the image, its series and its study."""
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        setattr(image, keyword, keyed_uid(str(image[keyword].value), key))


_TERMS = {
    "BurnedInAnnotation": "YES|NO",
    "LossyImageCompression": "00|01",
    "LossyImageCompressionMethod": r"ISO_\d{4,5}_\d{1,2}",
    "ImageLaterality": "R|L|U|B",
    "Laterality": "R|L",
    "Modality": "CR|DX",
    "PatientOrientation": "[APRLHF]{1,3}",
    "PixelSpacingCalibrationType": "GEOMETRY|FIDUCIAL",
    "VOILUTFunction": "LINEAR|LINEAR_EXACT|SIGMOID",
}


def keep_known_terms(image: Dataset) -> None:
    """Leave out coded elements that hold anything but a term of the standard: devices write what they like there."""
    for keyword, pattern in _TERMS.items():
        value = image.get(keyword)
        values = value if isinstance(value, MultiValue | list) else [value]
        if value is not None and not all(re.fullmatch(pattern, str(one)) for one in values):
            del image[keyword]
