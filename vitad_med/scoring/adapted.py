"""MONAI handler that keeps what an adapted model said of each image, and what it would have said."""

from __future__ import annotations

import csv
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ignite.engine import Engine, Events
from monai.utils.enums import CommonKeys

from vitad_med.checkpoint import atomic_path
from vitad_med.data.case import Case
from vitad_med.engines.adaptation import AdaptedOutput
from vitad_med.predictions.identifiers import Identifiers, case_names, safe_cell

COLUMNS = ("image", "batch", "source", "before_step", "after_step")

logger = logging.getLogger(__name__)


class WriteAdaptedScores:
    """``scores.csv``: for each image the batch that it came in and its score by three states of the model.

    ``source`` is the model before any adaptation, ``before_step`` the model as it was when the image's batch came,
    ``after_step`` after the update on that batch.

    Args:
        cases: records of the evaluated dataset, in its order.
        output_dir: where the file goes.
        identifiers: ``clear`` or ``hashed`` names; None is clear for published data sets and hashed for all others.
        identifier_key_file: file with the site's secret, for ``hashed``.

    Raises:
        ConfigError: hashed names without a key; found before anything is scored.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        output_dir: str | Path,
        identifiers: Identifiers | None = None,
        identifier_key_file: str | Path | None = None,
    ) -> None:
        self.path = Path(output_dir) / "scores.csv"
        self.names = case_names(cases, identifiers, identifier_key_file)
        self._rows: dict[int, tuple[int, list[float]]] = {}

    def attach(self, engine: Engine) -> None:
        """Register on an evaluator with an :class:`~vitad_med.engines.adaptation.AdaptingInferer`."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.COMPLETED, self._finish)

    def _collect(self, engine: Engine) -> None:
        assert isinstance(engine.state.output, dict)
        assert isinstance(engine.state.batch, dict)
        output: AdaptedOutput = engine.state.output[CommonKeys.PRED]
        for position, index in enumerate(np.asarray(engine.state.batch["index"]).tolist()):
            scores = [float(part[position]) for part in (output.source, output.before, output.after)]
            self._rows[index] = (engine.state.iteration - 1, scores)

    def _finish(self, _: Engine) -> None:
        with atomic_path(self.path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            for index in sorted(self._rows):
                batch, scores = self._rows[index]
                writer.writerow([safe_cell(self.names[index]), batch, *(f"{score:.6g}" for score in scores)])
        logger.info("wrote the scores before and after adaptation to %s", self.path.name)
