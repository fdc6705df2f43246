"""What an interrupted adaptation left behind: finished batches and the state after the last of them."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vitad_med.adaptation.adapter import TestTimeAdapter
from vitad_med.checkpoint import load_checkpoint, save_checkpoint
from vitad_med.engines.checkpointing import check_same_settings
from vitad_med.errors import ConfigError, WeightsError
from vitad_med.outputs import ProxyOutput

STATE = "state.pt"
OUTPUTS = "outputs_{first:06d}_{last:06d}.pt"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StoredStep:
    """Outputs of one batch, small enough to keep: maps lie on the patch grid.

    Attributes:
        batch: digest of its pixels.
        before: outputs before the update.
        after: outputs after it.
        source: scores [B] of the source model.
    """

    batch: str
    before: ProxyOutput
    after: ProxyOutput
    source: Tensor

    def to(self, device: torch.device) -> StoredStep:
        """The same on another device."""
        before, after = (ProxyOutput(*(part.to(device) for part in o)) for o in (self.before, self.after))
        return StoredStep(self.batch, before, after, self.source.to(device))

    def plain(self) -> dict[str, Any]:
        """As tensors and text on the host."""
        outputs = {"before": self.before, "after": self.after}
        return {
            "batch": self.batch,
            "source": self.source.cpu(),
            **{name: [output.logits.cpu(), output.map_logits.cpu()] for name, output in outputs.items()},
        }

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> StoredStep:
        """From :meth:`plain`; the auxiliary logits, which no prediction needs, are empty."""
        before, after = (
            ProxyOutput(logits, map_logits, torch.empty(0))
            for logits, map_logits in (content["before"], content["after"])
        )
        return cls(content["batch"], before, after, content["source"])


class AdaptationProgress:
    """Keeps batches and state in a folder, at most every ``interval`` seconds, until the run is finished.

    Args:
        folder: of this run's unfinished state.
        adapter: whose state is kept.
        settings: plain values that a resumed run must share.
        resume: False starts anew.
        interval: seconds between two writings; what came after the last one is done again.
    """

    def __init__(
        self,
        folder: str | Path,
        adapter: TestTimeAdapter,
        settings: Mapping[str, Any],
        resume: bool = True,
        interval: float = 20.0,
    ) -> None:
        self.folder = Path(folder)
        self.adapter = adapter
        self.settings = json.loads(json.dumps(dict(settings)))
        self.resume = resume
        self.interval = interval
        self._steps: list[StoredStep] = []
        self._done = 0  # batches behind us
        self._written = 0  # of which are on disk
        self._outputs = 0  # whose outputs are on disk: all of them, or none where none are kept
        self._pending: list[dict[str, Any]] = []
        self._last = time.monotonic()

    def load(self) -> int:
        """Take up an unfinished run.

        Returns:
            Batches that it had done; 0 for a fresh start.

        Raises:
            ConfigError: it had other settings.
            WeightsError: its files are damaged or incomplete.
        """
        path = self.folder / STATE
        if not self.resume or not path.is_file():
            shutil.rmtree(self.folder, ignore_errors=True)
            return 0
        content = load_checkpoint(path)
        check_same_settings(f"'{path}' is of an unfinished adaptation", content["settings"], self.settings)
        self._done = self._written = int(content["done"])
        self.adapter.load_state_dict(content["adapter"])
        for file in sorted(self.folder.glob("outputs_*.pt")):
            first, last = (int(part) for part in file.stem.split("_")[1:])
            if last >= self._done:  # of a writing that was cut off before its state
                file.unlink()
            elif first == len(self._steps):
                self._steps += [StoredStep.of(step) for step in load_checkpoint(file)["steps"]]
        if len(self._steps) != content["outputs"]:
            raise WeightsError(
                f"'{self.folder}' holds the outputs of {len(self._steps)} batches, but '{STATE}' knows of "
                f"{content['outputs']}: files of the unfinished adaptation are missing; give --resume False to begin "
                "anew"
            )
        self._outputs = len(self._steps)
        logger.info("resuming after %d batches", self._done)
        return self._done

    def stored(self, number: int, batch: str) -> StoredStep | None:
        """Outputs of a batch that was done before the interruption.

        Raises:
            ConfigError: that batch held other images.
        """
        if number >= len(self._steps):
            return None
        step = self._steps[number]
        if step.batch != batch:
            raise ConfigError(
                f"batch {number} of the unfinished adaptation in '{self.folder}' held other images: the data set has "
                "changed since; give --resume False to start anew"
            )
        return step

    def add(self, step: StoredStep | None) -> None:
        """A batch is done; write when due. ``step`` is None where its outputs need not be kept."""
        self._done += 1
        if step is not None:
            self._pending.append(step.plain())
        if time.monotonic() - self._last >= self.interval:
            self.save()

    def save(self) -> None:
        """Write now: outputs first, so that a state on disk always has those of all its batches."""
        if self._pending:
            name = OUTPUTS.format(first=self._written, last=self._done - 1)
            save_checkpoint(self.folder / name, {"steps": self._pending})
            self._outputs += len(self._pending)
        content = {
            "done": self._done,
            "outputs": self._outputs,
            "settings": self.settings,
            "adapter": self.adapter.state_dict(),
        }
        save_checkpoint(self.folder / STATE, content)
        self._pending = []
        self._written = self._done
        self._last = time.monotonic()

    def clear(self) -> None:
        """The run is finished: nothing is left to resume."""
        shutil.rmtree(self.folder, ignore_errors=True)
