"""Handler that writes the whole training state after every epoch and takes it up again."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from ignite.engine import Engine, Events
from torch.amp import GradScaler

from vitad_med.checkpoint import load_checkpoint, save_checkpoint
from vitad_med.engines.distributed import is_first
from vitad_med.errors import ConfigError, WeightsError
from vitad_med.reproducibility import rng_state, set_rng_state

logger = logging.getLogger(__name__)


class Stateful(Protocol):
    """Anything with a state dict: networks, optimizers, schedulers, scalers."""

    def state_dict(self) -> Mapping[str, Any]: ...

    def load_state_dict(self, state_dict: Any) -> Any: ...


class Checkpointing:
    """Save and resume networks, optimizer, schedule, epoch, random state and the trainer's loss scale.

    Args:
        path: checkpoint file, replaced atomically after every epoch.
        objects: name to stateful object; names are the file's keys.
        settings: plain values that a resumed run must share, e.g. batch size, epochs, seed, data digest.
        resume: take up the checkpoint when there is one; False starts anew and overwrites it.
    """

    def __init__(
        self,
        path: str | Path,
        objects: Mapping[str, Stateful],
        settings: Mapping[str, Any],
        resume: bool = True,
    ) -> None:
        self.path = Path(path)
        self.objects = dict(objects)
        self.settings = json.loads(json.dumps(dict(settings)))
        self.resume = resume

    def attach(self, engine: Engine) -> None:
        """Register on an ignite engine: load when it starts, save after each epoch."""
        engine.add_event_handler(Events.STARTED, self.load)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.save)

    def load(self, engine: Engine) -> None:
        """Restore the state, or leave a fresh start alone.

        Raises:
            ConfigError: the checkpoint was made with other settings.
            WeightsError: the checkpoint is unreadable.
        """
        if not self.resume or not self.path.is_file():
            return
        try:
            content = load_checkpoint(self.path)
        except WeightsError as error:
            raise WeightsError(f"{error}: remove it, or give --resume False to start anew") from error
        check_same_settings(f"'{self.path}' was written", content["settings"], self.settings)
        for name, item in self.objects.items():
            item.load_state_dict(content["objects"][name])
        set_rng_state(content["rng"])
        if (scaler := _loss_scaler(engine)) is not None:
            scaler.load_state_dict(content["grad_scaler"])
        engine.state.epoch = content["epoch"]
        engine.state.iteration = content["iteration"]
        if content["epoch"] >= (engine.state.max_epochs or 0):
            logger.info("already trained for %d epochs: nothing left to do", content["epoch"])
            engine.terminate()
        else:
            logger.info("resuming after epoch %d", content["epoch"])

    def save(self, engine: Engine) -> None:
        """Write the state as it stands after the epoch that just ended; in a distributed run the first process does."""
        if not is_first():
            return
        # fp16's loss scale; the state of a scaler that is switched off is empty.
        scaler = _loss_scaler(engine)
        content = {
            "epoch": engine.state.epoch,
            "iteration": engine.state.iteration,
            "settings": self.settings,
            "rng": rng_state(),
            "grad_scaler": {} if scaler is None else scaler.state_dict(),
            "objects": {name: dict(item.state_dict()) for name, item in self.objects.items()},
        }
        save_checkpoint(self.path, content)


def _loss_scaler(engine: Engine) -> GradScaler | None:
    """This project's trainers name it ``grad_scaler``, MONAI's own ``scaler``."""
    found = (getattr(engine, name, None) for name in ("grad_scaler", "scaler"))
    return next((item for item in found if isinstance(item, GradScaler)), None)


def check_same_settings(what: str, stored: Mapping[str, Any], current: Mapping[str, Any]) -> None:
    """Raise ConfigError, naming the first key that differs, unless a resumed run has the settings of the stored one.

    Args:
        what: begins the sentence, e.g. ``"'training.ckpt' was written"``.
        stored: of the unfinished run.
        current: of this one.
    """
    differing = sorted(k for k in stored.keys() | current.keys() if stored.get(k) != current.get(k))
    if differing:
        key = differing[0]
        raise ConfigError(
            f"{what} with other settings ({key}: {stored.get(key)!r}, now {current.get(key)!r}): use them, another "
            "output_dir, or --resume False to start anew"
        )
