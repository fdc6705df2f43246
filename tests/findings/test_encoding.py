"""Pixels of objects without compression or with one that loses nothing."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless

from tests.findings.conftest import read
from vitad_med.errors import ConfigError
from vitad_med.findings.finding import Finding, Provenance
from vitad_med.findings.objects import KINDS, make_objects

COMPRESSED = {"sc", "seg_fractional"}


def test_jpegls_changes_size_and_uids_and_no_pixel(
    write, flagged: Finding, provenance: Provenance, picture: np.ndarray
) -> None:
    path = write()
    plain = make_objects(path, flagged, provenance, KINDS, picture=picture)
    packed = make_objects(path, flagged, provenance, KINDS, picture=picture, encoding="jpegls")
    assert len(packed["sc"]) < 0.6 * len(plain["sc"])
    for kind, dataset in read(packed).items():
        other = read(plain)[kind]
        syntax = JPEGLSLossless if kind in COMPRESSED else ExplicitVRLittleEndian
        assert dataset.file_meta.TransferSyntaxUID == syntax, kind
        assert other.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian, kind
        assert dataset.SOPInstanceUID != other.SOPInstanceUID, kind
        assert dataset.SeriesInstanceUID != other.SeriesInstanceUID, kind
        for keyword in ("LossyImageCompression", "LossyImageCompressionRatio", "LossyImageCompressionMethod"):
            assert dataset.get(keyword) == other.get(keyword), kind
        if "PixelData" in dataset:
            np.testing.assert_array_equal(dataset.pixel_array, other.pixel_array)


def test_the_same_arguments_give_the_same_bytes(
    write, flagged: Finding, provenance: Provenance, picture: np.ndarray
) -> None:
    path = write()
    first, second = (
        make_objects(path, flagged, provenance, KINDS, picture=picture, encoding="jpegls") for _ in range(2)
    )
    assert first == second


def test_an_unknown_encoding_is_refused(write, flagged: Finding, provenance: Provenance) -> None:
    with pytest.raises(ConfigError, match=r"encoding 'jpeg' is unknown: use uncompressed, jpegls"):
        make_objects(write(), flagged, provenance, ["sr"], picture=None, encoding="jpeg")
