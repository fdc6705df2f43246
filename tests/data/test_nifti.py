"""Radiographs that tools export as NIfTI: orientation, range, and what is set aside."""

from __future__ import annotations

import struct
from pathlib import Path

import nibabel
import numpy as np
import pytest

from vitad_med.data.dicom.intended_use import IntendedUse
from vitad_med.data.dicom.triage import Aside
from vitad_med.data.image_io import read_image, read_stored, stored_bits
from vitad_med.data.nifti import read_plane_header
from vitad_med.data.worklist import build_worklist
from vitad_med.errors import DataError

PLANE = (np.arange(40 * 30).reshape(40, 30) * 3).astype(np.uint16)  # [H, W]
ITK = np.diag([-1.0, -1.0, 1.0, 1.0])


def write(path: Path, values: np.ndarray, affine: np.ndarray | None = ITK, slope: float | None = None) -> Path:
    """Values [x, y, ...] as a file."""
    image = nibabel.Nifti1Image(values, affine)
    if slope is not None:
        image.header.set_slope_inter(slope, -5.0)
    image.to_filename(path)
    return path


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("affine", [None, np.eye(4), ITK])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_unsigned_integers_keep_their_full_range(
    tmp_path: Path, name: str, affine: np.ndarray | None, dtype: type
) -> None:
    plane = PLANE.astype(dtype)
    path = write(tmp_path / name, plane.T[:, :, None], affine)
    stored = read_stored(path)
    assert stored.dtype == dtype
    assert stored_bits(path) == 8 * np.dtype(dtype).itemsize
    np.testing.assert_array_equal(stored, plane[None])
    np.testing.assert_allclose(read_image(path)[0], plane / np.iinfo(dtype).max, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32, np.float64])
def test_other_types_get_a_window_of_percentiles(tmp_path: Path, dtype: type) -> None:
    values = (PLANE.astype(np.int32) - 1000).astype(dtype)
    path = write(tmp_path / "a.nii", values.T)
    assert stored_bits(path) == 16
    low, high = np.percentile(values, [0.5, 99.5])
    expected = np.clip((values - low) / (high - low), 0, 1)
    np.testing.assert_allclose(read_image(path)[0], expected, atol=1e-5)
    # A scale and an offset change nothing, and neither does a larger type.
    np.testing.assert_array_equal(
        read_stored(write(tmp_path / "b.nii", values.astype(np.float64).T)), read_stored(path)
    )


def test_scaled_bytes_have_no_full_range(tmp_path: Path) -> None:
    values = PLANE.astype(np.uint8)
    path = write(tmp_path / "a.nii", values.T, slope=2.0)
    assert stored_bits(path) == 16
    assert not read_plane_header(path).has_full_range
    assert read_stored(path).dtype == np.uint16


def test_the_order_of_bytes_changes_nothing(tmp_path: Path) -> None:
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(np.uint16)
    image = nibabel.Nifti1Image(PLANE.T, ITK, header)
    image.to_filename(tmp_path / "big.nii")
    assert (tmp_path / "big.nii").read_bytes()[:4] == bytes([0, 0, 1, 92])
    assert read_plane_header(tmp_path / "big.nii").has_full_range
    np.testing.assert_array_equal(read_stored(tmp_path / "big.nii"), PLANE[None])


def test_values_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    values = PLANE.astype(np.float32)
    values[3, 4] = np.nan
    with pytest.raises(DataError, match=r"a\.nii holds values that are no numbers"):
        read_image(write(tmp_path / "a.nii", values.T))


def test_a_turned_plane_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Image .*a\.nii is mirrored.*or store it as PNG or DICOM"):
        read_image(write(tmp_path / "a.nii", PLANE.T, np.diag([-1.0, 1, 1, 1])))


def huge(path: Path, shape: tuple[int, int]) -> Path:
    """A header of 352 bytes that announces a plane."""
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.uint16)
    header.set_data_shape(shape)
    header["vox_offset"] = 352
    header["magic"] = b"n+1"
    path.write_bytes(header.binaryblock + bytes(4))
    return path


def test_triage_looks_at_headers(tmp_path: Path) -> None:
    folder = tmp_path / "nifti"
    folder.mkdir()
    write(folder / "fine.nii.gz", PLANE.T)
    write(folder / "volume.nii", np.zeros((8, 6, 3), np.int16))
    write(folder / "mirrored.nii", PLANE.T, np.diag([-1.0, 1, 1, 1]))
    write(folder / "complex.nii", np.zeros((8, 6), np.complex64))
    rgb = np.zeros((8, 6), np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]))
    write(folder / "rgb.nii", rgb)
    huge(folder / "bomb.nii", (30_000, 30_000))
    huge(folder / "cut.nii", (300, 300))
    (folder / "text.nii").write_text("no image")
    (folder / "text.nii.gz").write_text("no image")
    whole = (folder / "fine.nii.gz").read_bytes()
    (folder / "head.nii.gz").write_bytes(whole[:30])
    items = {item.name: item for item in build_worklist(folder, IntendedUse())}
    assert {name: item.verdict.aside for name, item in items.items()} == {
        "bomb.nii": Aside.TOO_LARGE,
        "complex.nii": Aside.COLOUR,
        "cut.nii": Aside.TRUNCATED,
        "fine.nii.gz": None,
        "head.nii.gz": Aside.UNREADABLE,
        "mirrored.nii": Aside.UNREADABLE,
        "rgb.nii": Aside.COLOUR,
        "text.nii": Aside.UNREADABLE,
        "text.nii.gz": Aside.UNREADABLE,
        "volume.nii": Aside.MULTI_FRAME,
    }
    assert items["volume.nii"].verdict.detail == "a volume of 8 x 6 x 3"
    assert items["cut.nii"].verdict.detail == "180000 bytes of pixels are missing"
    assert items["fine.nii.gz"].case is not None
    assert items["fine.nii.gz"].case.patient_id == "fine"


def test_a_header_with_a_dimension_below_zero(tmp_path: Path) -> None:
    path = huge(tmp_path / "a.nii", (300, 300))
    content = bytearray(path.read_bytes())
    content[42:44] = struct.pack("<h", -5)
    path.write_bytes(bytes(content))
    [item] = build_worklist(tmp_path, IntendedUse())
    assert item.verdict.aside == Aside.UNREADABLE


def test_the_shared_volumes_are_set_aside(shared_data: Path) -> None:
    items = build_worklist(shared_data / "nifti", IntendedUse())
    found = {item.name: item.verdict.aside for item in items}
    assert found["CT_AVM.nii.gz"] == found["chris_t1.nii.gz"] == Aside.MULTI_FRAME
