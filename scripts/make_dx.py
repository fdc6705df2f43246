"""Wrap radiographs of ChestX-ray14 as DX files, for trying DICOM scoring and a PACS without a hospital's images.

    python scripts/make_dx.py examples/nih_mini outputs/dx

Patients are called by their number in the published data set; nothing else is invented about them.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from vitad_med.data.case import Case
from vitad_med.data.chestxray14 import read_chestxray14
from vitad_med.data.dicom.codes import DX_FOR_PRESENTATION
from vitad_med.data.image_io import read_image

ROOT = "2.25.329800735698586629295641978511506172918"
"""Prefix of the UIDs of made files (2.25.<UUID>), which so collide with nobody's."""

VIEWS = {"PA": ("272479007", "postero-anterior"), "AP": ("399348003", "antero-posterior")}
DETECTOR = 430.0
"""Side of a large detector in mm, for a plausible spacing of pixels."""


def make_dx(
    image: NDArray[np.floating],
    number: str,
    *,
    patient: str = "1",
    sex: str = "",
    age: str = "",
    view: str = "PA",
    bits: int = 12,
    monochrome1: bool = False,
    window: tuple[float, float] | None = None,
) -> FileDataset:
    """One radiograph as DX Image Storage - For Presentation, explicit VR little endian.

    Args:
        image: [H, W] in 0..1, air dark.
        number: ends the SOP Instance UID; digits and full stops.
        patient: PatientID.
        sex, age, view: as DICOM writes them; empty is not told.
        bits: stored, 8 to 16.
        monochrome1: store it light to dark.
        window: centre and width of the one window, in stored values; None is the range of the bits.
    """
    top = 2**bits - 1
    stored = np.rint(np.clip(image, 0, 1) * top).astype(np.uint16 if bits > 8 else np.uint8)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = UID(DX_FOR_PRESENTATION), UID(f"{ROOT}.1.{number}")
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    made.SOPClassUID, made.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    made.StudyInstanceUID, made.SeriesInstanceUID = f"{ROOT}.2.{number}", f"{ROOT}.3.{number}"
    made.SpecificCharacterSet = "ISO_IR 192"
    made.PatientName, made.PatientID, made.PatientSex, made.PatientAge = "", patient, sex, age
    made.PatientBirthDate = made.StudyDate = made.StudyTime = made.AccessionNumber = made.StudyID = ""
    made.ReferringPhysicianName = made.Manufacturer = ""
    made.SeriesNumber, made.InstanceNumber = 1, 1
    made.Modality, made.BodyPartExamined, made.ViewPosition = "DX", "CHEST", view
    made.PresentationIntentType = "FOR PRESENTATION"
    made.ImageType, made.ImageLaterality, made.PatientOrientation = ["DERIVED", "PRIMARY"], "U", ["L", "F"]
    made.LossyImageCompression, made.BurnedInAnnotation = "01", "NO"
    made.LossyImageCompressionRatio, made.LossyImageCompressionMethod = 4, "ISO_10918_1"
    made.SamplesPerPixel, made.PixelRepresentation = 1, 0
    made.Rows, made.Columns = stored.shape
    made.BitsAllocated, made.BitsStored, made.HighBit = (16 if bits > 8 else 8), bits, bits - 1
    made.PhotometricInterpretation = "MONOCHROME1" if monochrome1 else "MONOCHROME2"
    made.PresentationLUTShape = "INVERSE" if monochrome1 else "IDENTITY"
    made.RescaleIntercept, made.RescaleSlope, made.RescaleType = 0, 1, "US"
    made.PixelIntensityRelationship, made.PixelIntensityRelationshipSign = "LOG", -1 if monochrome1 else 1
    made.ImagerPixelSpacing = [f"{DETECTOR / side:.6g}" for side in stored.shape]
    made.DetectorType, made.PositionerType = "", ""
    made.AnatomicRegionSequence, made.AcquisitionContextSequence = [_code("51185008", "Chest")], []
    if view in VIEWS:
        made.ViewCodeSequence = [_code(*VIEWS[view])]
        made.ViewCodeSequence[0].ViewModifierCodeSequence = []
    made.WindowCenter, made.WindowWidth = (2 ** (bits - 1), 2**bits) if window is None else window
    made.PixelData = (top - stored if monochrome1 else stored).tobytes()
    if len(made.PixelData) % 2:
        made.PixelData += b"\0"
    return made


def _code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", meaning
    return item


def make_folder(cases: Sequence[Case], folder: Path) -> list[Path]:
    """Wrap every case as a 12-bit file, named like the image; the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, case in enumerate(cases, start=1):
        made = make_dx(
            read_image(case.image_path)[0],
            str(number),
            patient=case.patient_id,
            sex=case.sex if case.sex in ("M", "F") else "",
            age="" if case.age is None else f"{int(case.age):03d}Y",
            view=case.view,
        )
        paths.append(folder / f"{case.case_id}.dcm")
        made.save_as(paths[-1], enforce_file_format=True)
    return paths


def main(arguments: Sequence[str] | None = None) -> None:
    """Wrap the test images of a data set in the layout of ChestX-ray14."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset_dir", type=Path, help="data set in the layout of ChestX-ray14")
    parser.add_argument("out", type=Path, help="folder to write")
    options = parser.parse_args(arguments)
    paths = make_folder(read_chestxray14(options.dataset_dir, section="test"), options.out)
    print(f"{len(paths)} files in {options.out}")


if __name__ == "__main__":
    main()
