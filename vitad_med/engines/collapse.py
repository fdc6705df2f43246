"""Stops a self-distillation whose networks say the same of every image."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ignite.engine import Engine, Events

from vitad_med.errors import ConfigError, VitadError

LEAST = 8
"""Steps over which figures must be averaged to tell a collapse from chance."""

UNIFORM = (
    "targets say nothing, images are no longer told apart: try a lower epsilon, a queue, frozen_prototype_epochs or a "
    "lower learning_rate"
)
ONE_PROTOTYPE = "nearly all images fall on one prototype: try centering sinkhorn, or objective apmask"
ONE_FEATURE = (
    "all images have nearly the same features: look whether the training images differ, and try a lower learning_rate"
)
NO_IDENTITY = (
    "two views of one image are no more alike than views of different images: look whether the training images differ, "
    "and try a lower learning_rate, weaker augment, or larger multicrop#global_scale"
)


logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sign:
    """One way in which collapse shows.

    Attributes:
        monitor: name among the trainer's monitors.
        limit: value beyond which it counts.
        above: whether beyond means above; else below.
        meaning: what it says: what to try.
    """

    monitor: str
    limit: float
    above: bool
    meaning: str

    def shows(self, value: float) -> bool:
        """Whether a value is beyond the limit; NaN is."""
        return not (value <= self.limit if self.above else value >= self.limit)


class CollapseMonitor:
    """Ends the run when a sign of collapse is beyond its limit on average over the last ``patience`` steps.

    Args:
        patience: steps; in a shorter training half of its steps, though not fewer than ``LEAST``. A training of fewer
            steps than that is not judged, which a warning says.
        max_target_entropy: mean entropy of a target over log K; 1 is the uniform target, which says nothing.
        min_usage_entropy: entropy of the mean target over log K; 0 is one prototype for all.
        min_feature_spread: spread of the teacher's CLS features over a batch.
        min_identity: how much more alike views of one image are than views of different ones. For both see
            :func:`vitad_med.engines.feature_monitors.feature_monitors`.

    Its ``state_dict`` holds the latest values, so that a resumed run stops where a whole one would.
    """

    def __init__(
        self,
        patience: int = 50,
        max_target_entropy: float = 0.995,
        min_usage_entropy: float = 0.15,
        min_feature_spread: float = 0.02,
        min_identity: float = 0.03,
    ) -> None:
        if patience < 1:
            raise ConfigError(f"collapse#patience {patience} must be at least 1")
        self.patience = patience
        self.signs = (
            Sign("target_entropy", max_target_entropy, True, UNIFORM),
            Sign("usage_entropy", min_usage_entropy, False, ONE_PROTOTYPE),
            Sign("feature_spread", min_feature_spread, False, ONE_FEATURE),
            Sign("identity", min_identity, False, NO_IDENTITY),
        )
        self.latest = {sign.monitor: deque[float](maxlen=patience) for sign in self.signs}

    def attach(self, engine: Engine) -> None:
        """Register; looks at every iteration's monitors."""
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.look)

    def start(self, engine: Engine) -> None:
        """Fit ``patience`` to the length of the training."""
        steps = (engine.state.epoch_length or 0) * (engine.state.max_epochs or 0)
        self.patience = min(self.patience, max(LEAST, steps // 2))
        if steps < self.patience:
            logger.warning(
                "%d steps are too few to see whether training collapses: look at the figures yourself", steps
            )
        self.latest = {name: deque(values, maxlen=self.patience) for name, values in self.latest.items()}

    def look(self, engine: Engine) -> None:
        """Take the latest monitors.

        Raises:
            VitadError: a sign of collapse is beyond its limit; says which, its figure, and what to try.
        """
        monitors: Mapping[str, float] = engine.state.output["monitors"]  # type: ignore[index]
        for sign in self.signs:
            latest = self.latest[sign.monitor]
            latest.append(monitors[sign.monitor])
            mean = sum(latest) / len(latest)
            if len(latest) == self.patience and sign.shows(mean):
                raise VitadError(
                    f"training has collapsed at step {engine.state.iteration}: {sign.monitor} is {mean:.3g} on average "
                    f"over {self.patience} steps, {'above' if sign.above else 'below'} {sign.limit:g}; {sign.meaning}"
                )

    def state_dict(self) -> dict[str, Any]:
        """The latest values of each sign, oldest first."""
        return {name: list(values) for name, values in self.latest.items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up :meth:`state_dict`."""
        for name, values in state.items():
            self.latest[name] = deque(values, maxlen=self.patience)
