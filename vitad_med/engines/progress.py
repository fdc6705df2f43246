"""Handlers that tell how training goes: running means per epoch, a line with the time left, and a history file."""

from __future__ import annotations

import csv
import logging
import time
from collections import defaultdict
from pathlib import Path

from ignite.engine import Engine, Events

from vitad_med.checkpoint import atomic_path
from vitad_med.durations import duration
from vitad_med.engines.distributed import is_first

logger = logging.getLogger(__name__)


def _monitors(engine: Engine) -> dict[str, float]:
    output = engine.state.output
    return output["monitors"] if isinstance(output, dict) else {}


class EpochMeans:
    """Mean over an epoch of every float that an iteration puts under ``monitors`` in its output."""

    def __init__(self) -> None:
        self._sums: dict[str, float] = defaultdict(float)
        self._count = 0

    def attach(self, engine: Engine) -> None:
        """Register; the means appear in ``engine.state.metrics`` at the end of each epoch."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._add)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._finish)

    def _start(self, _: Engine) -> None:
        self._sums.clear()
        self._count = 0

    def _add(self, engine: Engine) -> None:
        for name, value in _monitors(engine).items():
            self._sums[name] += value
        self._count += 1

    def _finish(self, engine: Engine) -> None:
        for name, total in self._sums.items():
            engine.state.metrics[name] = total / self._count


class Progress:
    """A log line at least every ``interval`` seconds and after every epoch, with the time left.

    Args:
        interval: seconds between lines inside an epoch.
        history: CSV file that gets one row per epoch; rewritten whole, so that it never ends in half a line.
    """

    def __init__(self, interval: float = 30.0, history: str | Path | None = None) -> None:
        self.interval = interval
        self.history = Path(history) if history is not None else None
        self._began = self._spoke = 0.0
        # Known at the first iteration only: a resumed run takes up its counter after this handler has started.
        self._first_iteration: int | None = None

    def attach(self, engine: Engine) -> None:
        """Register after the handlers that fill ``engine.state.metrics``."""
        engine.add_event_handler(Events.STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._iteration)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._epoch)

    def _start(self, _: Engine) -> None:
        self._began = self._spoke = time.monotonic()
        self._first_iteration = None

    def _left(self, engine: Engine) -> str:
        done = engine.state.iteration - (self._first_iteration or 0)
        total = (engine.state.max_epochs or 0) * (engine.state.epoch_length or 0)
        per_step = (time.monotonic() - self._began) / max(done, 1)
        return f"{per_step:.2f} s/step, {duration(per_step * (total - engine.state.iteration))} left"

    def _iteration(self, engine: Engine) -> None:
        now = time.monotonic()
        if self._first_iteration is None:
            self._first_iteration = engine.state.iteration - 1
        if now - self._spoke < self.interval:
            return
        self._spoke = now
        loss = _monitors(engine).get("loss", float("nan"))
        step = (engine.state.iteration - 1) % (engine.state.epoch_length or 1) + 1
        logger.info(
            "epoch %d/%d, step %d/%d: loss %.4f, %s",
            engine.state.epoch,
            engine.state.max_epochs,
            step,
            engine.state.epoch_length,
            loss,
            self._left(engine),
        )

    def _epoch(self, engine: Engine) -> None:
        self._spoke = time.monotonic()
        values = {k: v for k, v in engine.state.metrics.items() if isinstance(v, float)}
        text = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
        logger.info("epoch %d/%d: %s; %s", engine.state.epoch, engine.state.max_epochs, text, self._left(engine))
        if self.history is not None and is_first():
            self._write_history(engine.state.epoch, values)

    def _write_history(self, epoch: int, values: dict[str, float]) -> None:
        assert self.history is not None
        rows: list[dict[str, str]] = []
        if self.history.is_file():
            with self.history.open(newline="") as file:
                rows = [row for row in csv.DictReader(file) if int(row["epoch"]) < epoch]
        rows.append({"epoch": str(epoch), **{k: f"{v:.6g}" for k, v in values.items()}})
        names = list(dict.fromkeys(name for row in rows for name in row))
        with atomic_path(self.history) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, names, restval="")
            writer.writeheader()
            writer.writerows(rows)
