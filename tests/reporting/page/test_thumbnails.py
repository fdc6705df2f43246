"""Pictures of the worklist: what they show, how small they are, and that they are the same every time."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vitad_med.errors import DataError
from vitad_med.reporting.page import Thumbnail, make_thumbnail, store_thumbnails
from vitad_med.reporting.page.thumbnails import heat_palette


def pixels(picture: bytes | str, mode: str) -> np.ndarray:
    assert isinstance(picture, bytes)
    return np.asarray(Image.open(io.BytesIO(picture)).convert(mode))


@pytest.fixture
def image() -> np.ndarray:
    return np.linspace(0, 1, 224 * 224, dtype=np.float32).reshape(224, 224)


def test_pictures_are_the_same_every_time(image: np.ndarray) -> None:
    heat = np.random.default_rng(0).random((224, 224)).astype(np.float32)
    assert make_thumbnail(4, image, heat) == make_thumbnail(4, image.copy(), heat.copy())


def test_the_xray_is_grey_and_keeps_its_brightness(image: np.ndarray) -> None:
    thumbnail = make_thumbnail(0, image, image)
    shown = pixels(thumbnail.xray, "L") / 255
    assert shown.shape == (224, 224)
    assert np.abs(shown - image).max() < 0.03
    assert isinstance(thumbnail.xray, bytes)
    assert Image.open(io.BytesIO(thumbnail.xray)).mode == "L"


def test_the_heat_map_is_clear_where_it_is_low_and_opaque_where_it_is_high(image: np.ndarray) -> None:
    heat = np.zeros((224, 224), dtype=np.float32)
    heat[40:80, 120:180] = 5
    shown = pixels(make_thumbnail(0, image, heat).heat, "RGBA")
    assert shown.shape == (112, 112, 4)
    assert shown[30, 75, 3] == 255
    assert shown[90, 20, 3] == 0
    assert tuple(shown[30, 75]) == tuple(heat_palette()[-1])


def test_the_scale_runs_within_the_image(image: np.ndarray) -> None:
    heat = np.random.default_rng(1).random((224, 224)).astype(np.float32)
    assert make_thumbnail(0, image, heat).heat == make_thumbnail(0, image, 8 * heat).heat


def test_one_hot_pixel_does_not_take_the_whole_scale(image: np.ndarray) -> None:
    heat = np.tile(np.linspace(0, 1, 224, dtype=np.float32), (224, 1))
    plain = pixels(make_thumbnail(0, image, heat).heat, "RGBA")[..., 3].astype(int)
    heat[3, 3] = 1e4
    assert np.abs(pixels(make_thumbnail(0, image, heat).heat, "RGBA")[50:, 50:, 3] - plain[50:, 50:]).max() <= 8


def test_a_constant_map_shows_nothing(image: np.ndarray) -> None:
    assert pixels(make_thumbnail(0, image, np.full((224, 224), 3.0)).heat, "RGBA")[..., 3].max() == 0


def test_lightness_of_the_palette_rises_evenly() -> None:
    lightness = heat_palette()[:, :3] @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(lightness) > 0).all()


def test_a_mask_becomes_a_closed_outline(image: np.ndarray) -> None:
    mask = np.zeros((224, 224), dtype=bool)
    mask[56:112, 112:168] = True
    (polygon,) = make_thumbnail(0, image, image, mask=mask).outline
    xs, ys = np.array(polygon).T
    assert polygon[0] == polygon[-1]
    assert np.allclose([xs.min(), xs.max(), ys.min(), ys.max()], [0.5, 0.75, 0.25, 0.5], atol=0.01)


def test_a_mask_at_the_edge_is_closed_too(image: np.ndarray) -> None:
    mask = np.zeros((224, 224), dtype=bool)
    mask[:, :20] = True
    (polygon,) = make_thumbnail(0, image, image, mask=mask).outline
    assert polygon[0] == polygon[-1]
    assert np.array(polygon).min() == 0


def test_pictures_are_small(thumbnails: list[Thumbnail]) -> None:
    sizes = [len(thumbnail.xray) + len(thumbnail.heat) for thumbnail in thumbnails]
    assert max(sizes) < 16_000


@pytest.mark.parametrize(
    ("image_shape", "heat_shape"), [((4, 4), (5, 4)), ((3, 4, 4), (3, 4, 4))], ids=["sizes differ", "three channels"]
)
def test_shapes_that_do_not_fit_are_refused(image_shape: tuple[int, ...], heat_shape: tuple[int, ...]) -> None:
    with pytest.raises(DataError, match="row 7 must have one shape"):
        make_thumbnail(7, np.zeros(image_shape), np.zeros(heat_shape))


def test_nan_is_refused() -> None:
    with pytest.raises(DataError, match="row 2 holds NaN"):
        make_thumbnail(2, np.zeros((4, 4)), np.full((4, 4), np.nan))


def test_stored_pictures_are_named_by_position_and_kept(tmp_path: Path, thumbnails: list[Thumbnail]) -> None:
    stored = store_thumbnails(tmp_path, thumbnails[:2])
    assert [thumbnail.xray for thumbnail in stored] == ["thumbnails/00000.jpg", "thumbnails/00001.jpg"]
    assert (tmp_path / "thumbnails" / "00001.png").read_bytes() == thumbnails[1].heat
    assert store_thumbnails(tmp_path, stored) == stored
