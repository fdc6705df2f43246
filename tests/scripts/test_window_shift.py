"""Radiographs under other windows, and how far their scores move."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from scripts.window_shift import WRAPPINGS, compare, main, wrapped
from vitad_med.data.chestxray14 import read_chestxray14
from vitad_med.data.image_io import read_image


@pytest.fixture(scope="module")
def images(nih_mini: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """A radiograph, and what each wrapping makes of it."""
    image = read_image(read_chestxray14(nih_mini, section="test")[0].image_path)[0]
    path = tmp_path_factory.mktemp("dx") / "dx.dcm"
    return image, {wrapping.name: wrapped(image, wrapping, path) for wrapping in WRAPPINGS}


def test_each_wrapping_is_another_curve(images: tuple[np.ndarray, dict[str, np.ndarray]]) -> None:
    image, found = images
    whole = found.pop("window of all 4,096 values")
    inverted = found.pop("the same, MONOCHROME1 with inverted pixels")
    np.testing.assert_allclose(whole, image, atol=0.5 / 4095 + 2e-5)
    np.testing.assert_allclose(inverted, image, atol=1.5 / 4095 + 2e-5)
    for name, other in found.items():
        assert float(np.abs(other - image).max()) > 0.04, name
        # A window is a curve that rises: no two pixels change places.
        assert np.all(np.diff(other.ravel()[np.argsort(whole.ravel(), kind="stable")]) >= 0), name
    assert len({other.tobytes() for other in found.values()}) == len(found)


def test_a_narrower_window_is_that_line(images: tuple[np.ndarray, dict[str, np.ndarray]]) -> None:
    image, found = images
    expected = np.clip((image * 4095 - 2048) / 2048 + 0.5, 0, 1)
    np.testing.assert_allclose(found["window of half the width"], expected, atol=2e-3)
    rising = 1 / (1 + np.exp(-4 * (image * 4095 - 2048) / 4096))
    np.testing.assert_allclose(found["SIGMOID of the same centre and width"], rising, atol=1e-3)


def test_figures_of_a_shift() -> None:
    rng = np.random.default_rng(0)
    scores, maps = np.array([1.0, 2, 3, 4]), rng.random((4, 8, 8))
    same = compare("same", (scores, maps), (scores, maps))
    assert (same.median, same.largest, same.rank) == (0, 0, pytest.approx(1))
    assert same.maps == pytest.approx(1)
    other = compare("other", (scores, maps), (np.array([1.5, 2, 3, 0]), -maps))
    assert (other.median, other.largest) == (0.25, 4)
    assert other.rank == pytest.approx(-0.2)
    assert other.maps == pytest.approx(-1)


@pytest.mark.slow
def test_the_table(nih_mini: Path, repo_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main([str(nih_mini), "--bundle", str(repo_root / "bundles" / "attn_synth"), "--images", "3"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + len(WRAPPINGS) + 2
    whole = [float(cell) for cell in lines[2].split("|")[2:-1]]
    half = [float(cell) for cell in next(line for line in lines if "half the width" in line).split("|")[2:-1]]
    assert whole[0] < half[0]
    assert whole[3] > 0.999 > half[3]
    assert lines[-1].startswith("3 images, attn_synth")
