"""What the device gets, and what is noted of images on the way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scripts.make_dx import make_dx
from vitad_med.scoring.backends import Backend
from vitad_med.scoring.run import Scored, Session
from vitad_med.scoring.settings import ScoreSettings
from vitad_med.site.key import read_key


class Recorded:
    """A backend, and how many images each of its batches had."""

    def __init__(self, backend: Backend) -> None:
        self.backend, self.description = backend, backend.description
        self.sizes: list[int] = []

    def __call__(self, images: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        self.sizes.append(len(images))
        return self.backend(images)


def test_the_last_batch_is_filled_up(settings: ScoreSettings) -> None:
    """Seven images in batches of three: an image meets the same arithmetic wherever the list ends."""
    with Session(settings, tell=lambda _: None) as session:
        recorded = Recorded(session.backend)
        session.backend = recorded  # type: ignore[assignment]
        session.score(settings.source, settings.out)
    assert recorded.sizes == [3, 3, 3]


def test_an_image_that_shows_next_to_nothing_is_noted(score: Callable[..., Scored], tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    grey = np.random.default_rng(0).random((200, 160))
    half = np.where(np.arange(160) < 80, 0, grey)  # black borders
    for number, image in enumerate((grey, half)):
        make_dx(image, str(number)).save_as(folder / f"{number}.dcm", enforce_file_format=True)
    dataset = make_dx(grey, "2")
    dataset.RescaleSlope = "1e9"
    dataset.save_as(folder / "2.dcm", enforce_file_format=True)
    rows = {row.file: row for row in score(source=folder).rows}
    key = read_key()
    expected = {"0.dcm": (), "1.dcm": (), "2.dcm": ("saturated",)}
    assert {name: rows[key.name("file", name)].notes for name in expected} == expected


def test_pictures_of_an_earlier_run_are_no_radiographs(
    score: Callable[..., Scored], ward: Path, tmp_path: Path
) -> None:
    first = score(out=tmp_path / "all" / "first", outputs=("worklist", "report", "maps", "sc"))
    assert list((first.out / "maps").glob("*.png"))
    assert list((first.out / "state" / "pictures").iterdir())
    second = score(source=tmp_path / "all", out=tmp_path / "second")
    assert not [row for row in second.rows if row.score is not None]
    own = [row for row in second.rows if row.set_aside == "own_output"]
    pictures = [path for path in first.out.rglob("*") if path.suffix in (".png", ".jpg", ".dcm")]
    assert len(own) == len(pictures)
