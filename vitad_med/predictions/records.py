"""What the reader returns: cases and scores in memory, maps and images read one at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vitad_med.data.case import Case
from vitad_med.data.image_io import read_image, resize, to_channels
from vitad_med.errors import DataError
from vitad_med.predictions.journal import Journal
from vitad_med.predictions.maps import on_grid, read_map


@dataclass(frozen=True)
class Exclusion:
    """An image that the table holds and the figures leave out.

    Attributes:
        image: its public name.
        patient: public name of its patient.
        reason: plain words, the same for all images left out for it.
    """

    image: str
    patient: str
    reason: str


@dataclass(frozen=True)
class Predictions:
    """A method's scores and maps of N images.

    Attributes:
        cases: N records; names are hashed where the journal says so.
        scores: float64 [N], finite, higher where more anomalous.
        journal: where they come from.
        exclusions: images that were left out.
        digest: SHA-256 of the tables, the journal and every map, image and mask file, equal wherever they lie.
        eval_size: side S of the grid in pixels.
        notes: plain sentences about what was assumed, for a report to repeat.
    """

    cases: tuple[Case, ...]
    scores: NDArray[np.float64]
    journal: Journal
    exclusions: tuple[Exclusion, ...]
    digest: str
    eval_size: int
    notes: tuple[str, ...] = ()
    map_files: tuple[Path | None, ...] = field(default=(), repr=False)
    image_files: tuple[Path | None, ...] = field(default=(), repr=False)

    def has_map(self, index: int) -> bool:
        """Whether the method drew a map of this image."""
        return self.map_files[index] is not None

    def has_image(self, index: int) -> bool:
        """Whether the picture itself is there."""
        return self.image_files[index] is not None

    def map(self, index: int) -> NDArray[np.float32]:
        """The map on the grid: float32 [S, S], finite.

        Raises:
            DataError: there is none, or its file changed since it was checked.
        """
        path = self.map_files[index]
        if path is None:
            raise DataError(f"Image {self.cases[index].case_id} has no map; ask has_map first.")
        return on_grid(read_map(path), self.eval_size, path)

    def image(self, index: int) -> NDArray[np.float32]:
        """The picture resized whole to the grid, colour reduced to luma: float32 [S, S], values 0..1.

        Raises:
            DataError: there is none, or it cannot be read.
        """
        path = self.image_files[index]
        if path is None:
            raise DataError(f"There is no picture of image {self.cases[index].case_id}; ask has_image first.")
        return to_channels(resize(read_image(path), self.eval_size), 1)[0]
