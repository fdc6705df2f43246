"""MONAI handler that gathers predictions and ends an evaluation with its files and its table."""

from __future__ import annotations

import logging
import math
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.utils.enums import CommonKeys

from vitad_med import __version__
from vitad_med.data.case import Case
from vitad_med.data.image_io import resize
from vitad_med.data.splits import data_digest
from vitad_med.durations import duration
from vitad_med.errors import StorageError
from vitad_med.evaluation.document import Document
from vitad_med.evaluation.run import evaluate_predictions
from vitad_med.evaluation.table import print_table
from vitad_med.evaluation.truth import truth_masks
from vitad_med.outputs import AnomalyOutput
from vitad_med.predictions.identifiers import Identifiers, default_identifiers, public_names, read_identifier_key
from vitad_med.predictions.journal import Journal, utc_now
from vitad_med.predictions.writer import PredictionWriter

logger = logging.getLogger(__name__)


class EvaluateCohorts:
    """Scores and maps of all images on disk; at the end metrics.json, images.csv, overlays and a table.

    The scores and maps themselves stay in ``<output_dir>/predictions``, from which reports are made; its format is in
    `docs/predictions_format.md`.

    Args:
        cases: records of the evaluated dataset, in its order.
        output_dir: where the files go.
        bundle: name of the method.
        model_digest: digest of the evaluated weights.
        eval_size: side in pixels of the grid on which maps are compared.
        by: cohorts beside ``all``, each a list of axes to cross.
        replicates: bootstrap replicates.
        seed: of the bootstrap.
        overlays: cases on each sheet of pictures.
        identifiers: ``clear`` or ``hashed`` names; None is clear for published data sets and hashed for all others.
        identifier_key_file: file with the site's secret, for ``hashed``.
        keep_predictions: False leaves no ``predictions`` folder.
        pipeline: settings that change scores, plain values, for the journal of the run.
        backend: what computes the scores, see `vitad_med.predictions.backend`.
        score_rule: what the image score is, in words.
        pick: takes the prediction out of what the inferer returned, where that holds several; None takes it as it is.
        title: printed above the table.

    Attributes:
        document: the written metrics.json, once the run has completed.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        output_dir: str | Path,
        bundle: str,
        model_digest: str,
        eval_size: int = 224,
        by: Sequence[Sequence[str]] = (("sex",), ("view",)),
        replicates: int = 2000,
        seed: int = 0,
        overlays: int = 6,
        identifiers: Identifiers | None = None,
        identifier_key_file: str | Path | None = None,
        keep_predictions: bool = True,
        pipeline: Mapping[str, Any] | None = None,
        backend: Mapping[str, Any] | None = None,
        score_rule: str | None = None,
        pick: Callable[[Any], AnomalyOutput] | None = None,
        title: str | None = None,
    ) -> None:
        self.pick = pick
        self.title = title
        self.cases = tuple(cases)
        self.output_dir = Path(output_dir)
        self.bundle = bundle
        self.model_digest = model_digest
        self.eval_size = eval_size
        self.by = by
        self.replicates = replicates
        self.seed = seed
        self.overlays = overlays
        self.identifiers = identifiers or default_identifiers(self.cases)
        self.identifier_key = read_identifier_key(identifier_key_file)
        # A missing key is found here rather than after minutes of scoring.
        public_names(self.cases, self.identifiers, self.identifier_key)
        self.keep_predictions = keep_predictions
        self.pipeline = pipeline
        self.backend = backend
        self.score_rule = score_rule
        self.document: Document | None = None
        self._writer: PredictionWriter | None = None
        self._created = ""
        self._rows = {index: row for row, index in enumerate(i for i, c in enumerate(self.cases) if c.localized)}
        self._scores = np.full(len(self.cases), np.nan)
        self._began = self._spoke = 0.0

    def attach(self, engine: Engine) -> None:
        """Register on a MONAI evaluator whose inferer returns ``AnomalyOutput``."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._collect)
        engine.add_event_handler(Events.COMPLETED, self._finish)

    def _start(self, _: Engine) -> None:
        self._scores[:] = np.nan
        # On disk: 25,596 maps of 224 x 224 take 5 GB. The file goes with the run.
        self._scratch = tempfile.TemporaryFile()  # noqa: SIM115 - lives until the run has completed
        shape = (len(self._rows), self.eval_size, self.eval_size)
        if self._rows:
            self._reserve(4 * math.prod(shape))
        self._maps = (
            np.memmap(self._scratch, dtype=np.float32, mode="w+", shape=shape) if self._rows else np.zeros(shape, "f4")
        )
        if self.keep_predictions:
            self._writer = PredictionWriter(
                self.output_dir, self.cases, self.eval_size, self.identifiers, self.identifier_key
            )
        self._created = utc_now()
        self._began = self._spoke = time.monotonic()

    def _reserve(self, size: int) -> None:
        """Take the disk space now: a memory map that meets a full disk kills the process without a word."""
        if not hasattr(os, "posix_fallocate"):  # macOS, Windows
            return
        try:
            os.posix_fallocate(self._scratch.fileno(), 0, size)
        except OSError as error:
            raise StorageError(
                f"the maps need {size / 1e9:.1f} GB in {tempfile.gettempdir()}: {error.strerror}; free space, or name "
                "another folder in the variable TMPDIR"
            ) from error

    def _collect(self, engine: Engine) -> None:
        assert isinstance(engine.state.output, dict)
        assert isinstance(engine.state.batch, dict)
        output: AnomalyOutput = engine.state.output[CommonKeys.PRED]
        if self.pick is not None:
            output = self.pick(output)
        indices = np.asarray(engine.state.batch["index"])
        self._scores[indices] = output.score.cpu().numpy()
        for position, index in enumerate(indices.tolist()):
            row = self._rows.get(index)
            if row is None and self._writer is None:
                continue
            anomaly_map = resize(output.map[position], self.eval_size)[0].cpu().numpy()
            if row is not None:
                self._maps[row] = anomaly_map
            if self._writer is not None:
                case = self.cases[index]
                mask = truth_masks([case], self.eval_size)[0] if case.mask_path is not None else None
                self._writer.add(index, self._scores[index], anomaly_map, mask)
        now = time.monotonic()
        if now - self._spoke > 20:
            self._spoke = now
            done = engine.state.iteration / (engine.state.epoch_length or 1)
            left = (now - self._began) * (1 - done) / done
            logger.info("scored %.0f %% of %d images, %s left", 100 * done, len(self.cases), duration(left))

    def _finish(self, _: Engine) -> None:
        digest = data_digest(self.cases)
        if self._writer is not None:
            self._writer.finish(self._journal(digest))
            logger.info("wrote %s", self._writer.folder)
            self._writer = None
        logger.info("computing cohort metrics with %d bootstrap replicates", self.replicates)
        self.document = evaluate_predictions(
            self.cases,
            self._scores,
            self._maps,
            self.output_dir,
            bundle=self.bundle,
            model_digest=self.model_digest,
            data_digest=digest,
            eval_size=self.eval_size,
            by=self.by,
            replicates=self.replicates,
            seed=self.seed,
            overlays=self.overlays,
            identifiers=self.identifiers,
            identifier_key=self.identifier_key,
            pipeline=self.pipeline,
            score_rule=self.score_rule,
        )
        self._scratch.close()
        if self.title is not None:
            print(f"\n{self.title}")
        print_table(self.document)

    def _journal(self, digest: str) -> Journal:
        return Journal(
            method=self.bundle,
            source=", ".join(sorted({case.source for case in self.cases})),
            created=self._created,
            model_digest=self.model_digest,
            pipeline=self.pipeline,
            backend=self.backend,
            data_digest=digest,
            score_rule=self.score_rule,
            seed=self.seed,
            software=f"vitad_med {__version__}, torch {torch.__version__}",
        )
