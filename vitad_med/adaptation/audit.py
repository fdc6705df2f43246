"""``audit.jsonl``: what happened to an adapting model, one JSON object a line, on disk before the next step begins.

No image, name or path is in it: a batch is a digest of its pixels, patients are counts.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from vitad_med.adaptation.guard import GuardReading
from vitad_med.digests import state_digest
from vitad_med.errors import DataError, StorageError

SCHEMA = "vitad_med/audit/1"
DAMAGED = "damaged"

Decision = Literal["kept", "skipped", "rolled_back"]
"""Of an update: kept; not made, because it could not be; or taken back, with those that the guard had not yet seen."""
Event = Literal["start", "step", "resume", "reset", "last_reading", "finish"]


def utc_now() -> str:
    """The time as the log writes it, UTC to the millisecond: ``2026-11-25T13:00:00.000Z``."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def batch_digest(images: Tensor) -> str:
    """16 hexadecimal digits of the SHA-256 of a batch's shape, type and pixels: the same batch has the same digest."""
    return state_digest({"images": images})[:16]


class AuditLog:
    """Append-only log. Every line is written whole, flushed to disk, and never changed afterwards.

    A line that a crash or a power failure cut short is ended by a newline before the next one is written, so that it
    spoils no other; :func:`read_audit` shows it as damaged.

    Args:
        path: the file; created, with its folder, by the first line.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def write(self, event: Event, **fields: Any) -> None:
        """Append a line: ``event``, ``time`` and the fields, plain values or scalars of NumPy and torch.

        JSON has no NaN and no infinity: such a value becomes null and is told in ``reason``. A ``start`` line has the
        ``schema`` too.

        Raises:
            StorageError: disk full, read-only or missing rights; nothing half-written stays in the file.
        """
        notes: list[str] = []
        content = {name: _plain(value, name, notes) for name, value in fields.items()}
        if notes:
            content["reason"] = "; ".join(([content["reason"]] if content.get("reason") else []) + notes)
        head = {"schema": SCHEMA} if event == "start" else {}
        line = json.dumps({"event": event, "time": utc_now(), **head, **content}, allow_nan=False)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a+b", buffering=0) as file:
                _append(file, line.encode() + b"\n")
        except OSError as error:
            raise StorageError(
                f"cannot write '{self.path}': {error.strerror or error}; the lines written before are intact, "
                "free space or choose another output_dir"
            ) from error

    def step(
        self,
        step: int,
        batch: str,
        images: int,
        pseudo_classes: tuple[int, int] | None,
        loss: float | None,
        gradient_norm: float | None,
        decision: Decision,
        guard: GuardReading | None = None,
        reason: str | None = None,
    ) -> None:
        """Append the line of one update.

        Args:
            step: number of the batch, from 0.
            batch: :func:`batch_digest` of its images.
            images: number of its images.
            pseudo_classes: how many of them the model took for normal and for anomalous; None where it was not asked.
            loss: before the update; None where nothing was minimised.
            gradient_norm: before clipping; None likewise.
            decision: what became of the update.
            guard: the guard's reading after the update, None where it was not read in this step.
            reason: why the update was not kept, or in observation would not have been; the guard's own by default.

        Raises:
            StorageError: as :meth:`write`.
        """
        self.write(
            "step",
            step=step,
            batch=batch,
            images=images,
            pseudo_classes=pseudo_classes and {"normal": pseudo_classes[0], "anomalous": pseudo_classes[1]},
            loss=loss,
            gradient_norm=gradient_norm,
            guard=None if guard is None else guard.figures,
            decision=decision,
            reason=guard.reason if reason is None and guard is not None else reason,
        )

    def last_reading(self, guard: GuardReading, decision: Decision) -> None:
        """Append the line of a reading after the last batch, of the updates that the guard had not yet seen.

        Raises:
            StorageError: as :meth:`write`.
        """
        self.write("last_reading", guard=guard.figures, decision=decision, reason=guard.reason)


def read_audit(path: str | Path) -> list[dict[str, Any]]:
    """Every line of a log, in order.

    A line that is no whole JSON object with an event is given as ``{"event": "damaged", "line": number}``, so that
    readers pass over it and can count it.

    Raises:
        DataError: the file is missing or cannot be read.
    """
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise DataError(
            f"audit '{path}' cannot be read: {error.strerror or error}; an adaptation writes it."
        ) from error
    lines = raw.removesuffix(b"\n").split(b"\n") if raw else []
    return [_parsed(line, number) for number, line in enumerate(lines, start=1)]


def _parsed(line: bytes, number: int) -> dict[str, Any]:
    # A damaged line may hold anything, deep brackets included.
    with contextlib.suppress(ValueError, RecursionError):
        content = json.loads(line)
        if isinstance(content, dict) and isinstance(content.get("event"), str):
            return content
    return {"event": DAMAGED, "line": number}


def _append(file: io.FileIO, line: bytes) -> None:
    """Write at the end and flush to disk; what a full disk let through of the line is taken away again."""
    size = file.seek(0, os.SEEK_END)
    if size:
        file.seek(size - 1)
        if file.read(1) != b"\n":
            line = b"\n" + line
    rest = memoryview(line)
    try:
        while rest:
            rest = rest[file.write(rest) :]
        os.fsync(file.fileno())
    except OSError:
        with contextlib.suppress(OSError):
            file.truncate(size)
        raise


def _plain(value: Any, name: str, notes: list[str]) -> Any:
    """The value as JSON has it; what is not finite becomes None and is added to the notes."""
    if isinstance(value, Mapping):
        return {key: _plain(item, f"{name}.{key}", notes) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item, f"{name}[{index}]", notes) for index, item in enumerate(value)]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        notes.append(f"{name} is {value}")
        return None
    return value
