"""Every kind of map file puts a value on the right pixel, and none that is turned, mirrored or cut passes."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from vitad_med.data.case import Box, box_mask
from vitad_med.errors import DataError
from vitad_med.predictions.maps import check_aspect, on_grid, read_map
from vitad_med.predictions.reader import read_predictions

# 6 high, 8 wide; the box of 2 rows and 3 columns lies at rows 1 and 2, columns 4 to 6.
HEIGHT, WIDTH = 6, 8
BOX = Box(4 / 8, 1 / 6, 3 / 8, 2 / 6)
MARKED = box_mask((BOX,), HEIGHT, WIDTH).astype(np.float32)

ITK = np.diag([-0.5, -0.7, 1.0, 1.0])  # what SimpleITK writes of a picture with these pixel sides
PLAIN = np.diag([0.5, 0.7, 1.0, 1.0])


def write_nifti(path: Path, plane: np.ndarray, affine: np.ndarray | None) -> Path:
    nibabel.Nifti1Image(plane, affine).to_filename(path)
    return path


@pytest.mark.parametrize("name", ["m.nii", "m.nii.gz"])
@pytest.mark.parametrize("affine", [np.eye(4), PLAIN, ITK, None], ids=["eye", "plain", "itk", "none"])
@pytest.mark.parametrize("extra", [(), (1,), (1, 1)])
def test_nifti_element_x_y_is_column_x_of_row_y(
    tmp_path: Path, name: str, affine: np.ndarray | None, extra: tuple[int, ...]
) -> None:
    path = write_nifti(tmp_path / name, MARKED.T.reshape(WIDTH, HEIGHT, *extra), affine)
    assert np.array_equal(read_map(path), MARKED)


def test_the_scale_of_a_nifti_header_is_applied(tmp_path: Path) -> None:
    values = np.linspace(-3, 7, MARKED.size, dtype=np.float32).reshape(MARKED.shape)
    image = nibabel.Nifti1Image(values.T, np.eye(4))
    image.set_data_dtype(np.int16)  # nibabel writes whole numbers, with the slope that brings them back
    image.to_filename(tmp_path / "m.nii")
    assert np.allclose(read_map(tmp_path / "m.nii"), values, atol=2e-4)


def turned(degrees: float) -> np.ndarray:
    angle = np.deg2rad(degrees)
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return affine


@pytest.mark.parametrize(
    ("affine", "message"),
    [
        (np.diag([-1.0, 1, 1, 1]), "mirrored: its affine flips x alone"),
        (np.diag([1.0, -1, 1, 1]), "mirrored: its affine flips y alone"),
        (turned(90), "turned: its affine lets x and y run along AL"),
        (turned(10), "turned"),
        (
            np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 0, 1]]),
            "turned: its affine lets x and y run along RS",
        ),
    ],
)
def test_another_orientation_is_refused(tmp_path: Path, affine: np.ndarray, message: str) -> None:
    path = write_nifti(tmp_path / "m.nii.gz", MARKED.T, affine)
    with pytest.raises(DataError, match=rf"m\.nii\.gz is {message}.*save the map as \.npy"):
        read_map(path)


def test_a_volume_or_a_damaged_nifti_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"shape \[8, 6, 2\], but must be one plane"):
        read_map(write_nifti(tmp_path / "v.nii", np.zeros((8, 6, 2), np.float32), np.eye(4)))
    whole = write_nifti(tmp_path / "w.nii.gz", MARKED.T, np.eye(4)).read_bytes()
    for name, content in (
        ("cut.nii.gz", whole[: len(whole) // 2]),
        ("text.nii", b"no image"),
        ("short.nii", gzip.decompress(whole)[:360]),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=f"Cannot read map .*{name}"):
            read_map(tmp_path / name)


@pytest.mark.parametrize("dtype", [np.float64, np.float16, np.int16, np.uint8, bool])
def test_npy_of_any_real_type_keeps_its_values(tmp_path: Path, dtype: Any) -> None:
    np.save(tmp_path / "m.npy", MARKED.astype(dtype))
    found = read_map(tmp_path / "m.npy")
    assert found.dtype == np.float32
    assert np.array_equal(found, MARKED)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.zeros((1, 4, 4)), r"shape \[1, 4, 4\], but must be \[H, W\]; take away axes of one"),
        (np.zeros((0, 4)), "no pixel"),
        (np.zeros((4, 4), complex), "type complex128"),
        (np.array([["a"]]), "type <U1"),
        (np.array([[None]]), "Object arrays cannot be loaded"),
    ],
)
def test_npy_that_is_no_map_is_refused(tmp_path: Path, content: np.ndarray, message: str) -> None:
    np.save(tmp_path / "m.npy", content)
    with pytest.raises(DataError, match=message):
        read_map(tmp_path / "m.npy")


def test_a_cut_npy_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", MARKED)
    (tmp_path / "m.npy").write_bytes((tmp_path / "m.npy").read_bytes()[:-8])
    with pytest.raises(DataError, match=r"Cannot read map .*m\.npy"):
        read_map(tmp_path / "m.npy")


def test_png_of_8_and_16_bits_spans_0_to_1(tmp_path: Path) -> None:
    Image.fromarray((MARKED * 255).astype(np.uint8)).save(tmp_path / "8.png")
    Image.fromarray((MARKED * 65535).astype(np.uint16)).save(tmp_path / "16.png")
    for name in ("8.png", "16.png"):
        assert np.array_equal(read_map(tmp_path / name), MARKED)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (4, 4, 3), np.uint8)).save(tmp_path / "c.png")
    with pytest.raises(DataError, match=r"c\.png is a colour picture"):
        read_map(tmp_path / "c.png")


@pytest.mark.parametrize("map_shape", [(6, 8), (12, 16), (3, 4), (100, 133), (5, 5), (224, 224)])
def test_a_map_of_the_whole_image_fits(map_shape: tuple[int, int]) -> None:
    check_aspect("Map", Path("m.npy"), map_shape, (600, 800))


def test_a_turned_or_cut_map_is_refused() -> None:
    with pytest.raises(DataError, match="is 80 high and 60 wide, its image 600 high and 800 wide: it is turned"):
        check_aspect("Map", Path("m.npy"), (80, 60), (600, 800))
    with pytest.raises(DataError, match="does not show the whole image; undo cropping"):
        check_aspect("Map", Path("m.npy"), (60, 70), (600, 800))
    with pytest.raises(DataError, match=r"Mask m\.png is 8 high"):
        check_aspect("Mask", Path("m.png"), (8, 6), (600, 800))


def test_a_resized_map_must_be_finite() -> None:
    with pytest.raises(DataError, match="NaN"):
        on_grid(np.array([[np.inf]], np.float32), 2, Path("m.npy"))


@pytest.mark.parametrize("name", ["c.npy", "c.png", "c.nii.gz"])
def test_a_box_lands_on_the_marked_pixels_of_every_kind_of_map(run: Any, name: str) -> None:
    folder = run.folder
    Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint8)).save(folder / "images" / "c.png")
    (folder / "maps" / "c.npy").unlink()
    path = folder / "maps" / name
    if name.endswith("npy"):
        np.save(path, MARKED)
    elif name.endswith("png"):
        Image.fromarray((MARKED * 255).astype(np.uint8)).save(path)
    else:
        write_nifti(path, MARKED.T, ITK)
    run.boxes("image,x,y,width,height", f"c,{BOX.x},{BOX.y},{BOX.width},{BOX.height}")
    found = read_predictions(folder, identifiers="clear", eval_size=48)
    inside = box_mask(found.cases[2].boxes, 48, 48)
    assert found.map(2)[inside].min() > 0.2
    assert found.map(2)[inside].mean() > 0.8
    assert found.map(2)[~inside].mean() < 0.05
    assert np.argwhere(inside).mean(axis=0) == pytest.approx(
        [(np.arange(48) @ found.map(2).sum(axis)) / found.map(2).sum() for axis in (1, 0)], abs=0.2
    )


def test_a_map_that_contradicts_its_image_is_refused_by_the_reader(run: Any) -> None:
    Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint8)).save(run.folder / "images" / "c.png")
    np.save(run.folder / "maps" / "c.npy", MARKED.T)
    with pytest.raises(DataError, match=r"c\.npy is 8 high and 6 wide, its image 6 high and 8 wide: it is turned"):
        read_predictions(run.folder, identifiers="clear")
    np.save(run.folder / "maps" / "c.npy", MARKED)
    (run.folder / "masks").mkdir()
    Image.fromarray(np.full((WIDTH, HEIGHT), 255, np.uint8)).save(run.folder / "masks" / "c.png")
    with pytest.raises(DataError, match=r"Mask .*c\.png .* turned"):
        read_predictions(run.folder, identifiers="clear")
