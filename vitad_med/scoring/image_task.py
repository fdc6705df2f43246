"""What is done for one image in a worker process: decoding before the network, writing after it."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vitad_med.calibration.intensity import intensity_statistics
from vitad_med.data.dicom.pixels import read_radiograph
from vitad_med.data.dicom.quiet import quiet
from vitad_med.data.dicom.windows import FIRST
from vitad_med.data.image_io import read_stored, resize, to_channels
from vitad_med.data.intensity import from_unit_range, to_unit_range
from vitad_med.durable import write_file
from vitad_med.errors import ConfigError, DataError
from vitad_med.findings.finding import Finding, Provenance
from vitad_med.findings.making import UNCOMPRESSED
from vitad_med.findings.objects import make_objects
from vitad_med.reporting.page.thumbnails import XRAY_SIZE, make_thumbnail
from vitad_med.site.key import SiteKey

MAPS, DICOM = "maps", "dicom"

SATURATED, SATURATED_SHARE = "saturated", 0.95
"""Note of an image with more than this share of its pixels at its darkest or its brightest value: a window or rescaling
that does not fit shows next to nothing. Black borders take a smaller part of a radiograph."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file to score.

    Attributes:
        path: the file.
        name: hashed name of the image, by which its outputs are called.
        is_dicom: DICOM, or else a picture.
    """

    path: Path
    name: str
    is_dicom: bool


@dataclass(frozen=True, slots=True)
class Decoding:
    """How files become images of the network.

    Attributes:
        size: side S in pixels.
        channels: C, 1 or 3.
        window: of DICOM files, see :func:`vitad_med.data.dicom.pixels.read_radiograph`.
        with_picture: keep the whole picture, for a secondary capture.
    """

    size: int
    channels: int
    window: str = FIRST
    with_picture: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """An image on its way.

    Attributes:
        image: uint8 or uint16 [C, S, S], the full range for 0..1, as training sees it.
        shape: rows and columns of the file.
        intensities: see :func:`vitad_med.calibration.intensity.intensity_statistics`.
        picture: uint8 [rows, columns], dark to light, or None.
        notes: for the image's row, :data:`SATURATED` or nothing.
    """

    image: NDArray[np.integer]
    shape: tuple[int, int]
    intensities: tuple[float, ...]
    picture: NDArray[np.uint8] | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Written:
    """What became of the outputs of one image.

    Attributes:
        pictures: X-ray and heat map for the report, where it shows pictures.
        notes: ``no_KIND`` for each DICOM object that could not be made.
        files: place below the folder of the run -> bytes.
    """

    pictures: tuple[bytes, bytes] | None
    notes: tuple[str, ...] = ()
    files: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outputs:
    """What is written of each image.

    Attributes:
        folder: of the run.
        maps: a picture of the map at the file's own size.
        kinds: DICOM objects, some of :data:`~vitad_med.findings.objects.KINDS`.
        region_share: see :func:`~vitad_med.findings.objects.make_objects`.
        thumbnail: whether the report shows pictures.
        provenance: of the objects.
        deidentify: key under which patients in DICOM objects are renamed; None copies the patient.
        window: with which the files are decoded.
        encoding: of the pixels of DICOM objects, see :func:`~vitad_med.findings.objects.make_objects`.
    """

    folder: Path
    maps: bool
    kinds: tuple[str, ...]
    region_share: float
    thumbnail: bool
    provenance: Provenance
    deidentify: SiteKey | None = None
    window: str = FIRST
    encoding: str = UNCOMPRESSED


def decode(source: Source, decoding: Decoding) -> Decoded:
    """Read a file as training reads it.

    Raises:
        DataError: its pixels cannot be decoded or are all the same, in words without anything of the patient.
    """
    stored = _stored(source, decoding.window)
    image = to_unit_range(stored)
    if image.min() == image.max():
        raise DataError("every pixel has one value")
    dtype = np.uint8 if stored.dtype == np.uint8 else np.uint16
    grey = to_channels(resize(image, XRAY_SIZE), 1)[0]
    return Decoded(
        image=from_unit_range(to_channels(resize(image, decoding.size), decoding.channels), dtype),
        shape=(stored.shape[-2], stored.shape[-1]),
        intensities=tuple(intensity_statistics(np.clip(grey, 0, 1)).values()),
        picture=from_unit_range(to_channels(image, 1)[0], np.uint8) if decoding.with_picture else None,
        notes=(SATURATED,) if _saturated(stored) else (),
    )


def _saturated(stored: NDArray[np.integer]) -> bool:
    return any(np.count_nonzero(stored == end) > SATURATED_SHARE * stored.size for end in (stored.min(), stored.max()))


def _stored(source: Source, window: str) -> NDArray[np.integer]:
    if source.is_dicom:
        try:
            return read_radiograph(source.path, window).values[None]
        except ConfigError as error:  # of this file: others may have the window
            raise DataError("it has no LUT or window of the name that was asked for") from error
    try:
        return read_stored(source.path)
    except DataError as error:  # its words name the file
        raise DataError("its pixels cannot be decoded") from error


def write_outputs(source: Source, finding: Finding, decoded: Decoded, outputs: Outputs) -> Written:
    """Write the files of one image, durably.

    A header can be so odd that an object about it cannot be made; the others are, and the row says which is missing.

    Raises:
        StorageError: a file cannot be written.
    """
    files: dict[str, int] = {}

    def write(place: str, content: bytes) -> None:
        write_file(outputs.folder / place, content)
        files[place] = len(content)

    if outputs.maps:
        write(f"{MAPS}/{source.name}.png", map_picture(finding.map, decoded.shape))
    missing: list[str] = []
    if source.is_dicom and outputs.kinds:
        made, missing = _objects(source, finding, decoded, outputs)
        for kind, content in made.items():
            write(f"{DICOM}/{kind}/{source.name}.dcm", content)
    pictures = _pictures(finding, decoded) if outputs.thumbnail else None
    return Written(pictures, tuple(f"no_{kind}" for kind in missing), files)


def _objects(
    source: Source, finding: Finding, decoded: Decoded, outputs: Outputs
) -> tuple[dict[str, bytes], list[str]]:
    """What could be made, in the order of kinds, and the kinds that could not."""

    def make(kinds: tuple[str, ...]) -> dict[str, bytes]:
        return make_objects(
            source.path,
            finding,
            outputs.provenance,
            kinds,
            picture=decoded.picture,
            region_share=outputs.region_share,
            key=outputs.deidentify,
            window=outputs.window,
            encoding=outputs.encoding,
        )

    with quiet():
        try:
            return make(outputs.kinds), []
        except Exception:  # of a dozen kinds, from pydicom and highdicom; their words quote the patient
            made: dict[str, bytes] = {}
            missing = []
            for kind in outputs.kinds:
                try:
                    made |= make((kind,))
                except Exception:
                    missing.append(kind)
            return made, missing


def _pictures(finding: Finding, decoded: Decoded) -> tuple[bytes, bytes]:
    grey = to_channels(resize(to_unit_range(decoded.image), XRAY_SIZE), 1)[0]
    picture = make_thumbnail(0, np.clip(grey, 0, 1), resize(finding.map, XRAY_SIZE))
    assert isinstance(picture.xray, bytes)
    assert isinstance(picture.heat, bytes)
    return picture.xray, picture.heat


def map_picture(anomaly_map: NDArray[np.float32], shape: tuple[int, int]) -> bytes:
    """A map at the size of its file: 16-bit grey PNG, 65535 for 1."""
    buffer = io.BytesIO()
    values = np.rint(np.clip(resize(anomaly_map, shape), 0, 1) * 65535).astype(np.uint16)
    Image.fromarray(values).save(buffer, format="PNG", compress_level=1)  # smooth: more effort gains little
    return buffer.getvalue()
