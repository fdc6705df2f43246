"""MONAI handler that writes the score and the map of every image."""

from __future__ import annotations

import csv
import io
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ignite.engine import Engine, Events
from monai.utils.enums import CommonKeys
from PIL import Image

from vitad_med.checkpoint import atomic_path
from vitad_med.data.case import Case
from vitad_med.data.image_io import read_stored, resize
from vitad_med.outputs import AnomalyOutput
from vitad_med.predictions.identifiers import Identifiers, case_names, safe_cell

logger = logging.getLogger(__name__)


class WritePredictions:
    """``scores.csv`` (image, score) and ``maps/<image>.png``, 16-bit grey of the image's own size, 65535 for 1.

    Args:
        cases: records of the scored dataset, in its order.
        output_dir: where the files go.
        identifiers: ``clear`` or ``hashed`` names; None is clear for published data sets and hashed for all others.
        identifier_key_file: file with the site's secret, for ``hashed``.
        maps: False writes scores only.

    Raises:
        ConfigError: hashed names without a key; found before anything is scored.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        output_dir: str | Path,
        identifiers: Identifiers | None = None,
        identifier_key_file: str | Path | None = None,
        maps: bool = True,
    ) -> None:
        self.cases = tuple(cases)
        self.output_dir = Path(output_dir)
        self.maps = maps
        self.names = case_names(self.cases, identifiers, identifier_key_file)
        self._scores: dict[int, float] = {}

    def attach(self, engine: Engine) -> None:
        """Register on a MONAI evaluator whose inferer returns ``AnomalyOutput``."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.COMPLETED, self._finish)

    def _collect(self, engine: Engine) -> None:
        assert isinstance(engine.state.output, dict)
        assert isinstance(engine.state.batch, dict)
        output: AnomalyOutput = engine.state.output[CommonKeys.PRED]
        for position, index in enumerate(np.asarray(engine.state.batch["index"]).tolist()):
            self._scores[index] = float(output.score[position])
            if self.maps:
                height, width = read_stored(self.cases[index].image_path).shape[-2:]
                values = resize(output.map[position].cpu(), (height, width))[0].numpy()
                self._write_map(self.names[index], values)

    def _write_map(self, name: str, values: np.ndarray) -> None:
        buffer = io.BytesIO()
        Image.fromarray(np.round(values.clip(0, 1) * 65535).astype(np.uint16)).save(buffer, format="PNG")
        with atomic_path(self.output_dir / "maps" / f"{name}.png") as temporary:
            temporary.write_bytes(buffer.getvalue())

    def _finish(self, _: Engine) -> None:
        path = self.output_dir / "scores.csv"
        with atomic_path(path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["image", "score"])
            for index in sorted(self._scores):
                writer.writerow([safe_cell(self.names[index]), f"{self._scores[index]:.6g}"])
        logger.info("wrote %d scores to %s", len(self._scores), path.name)
