"""Stops a self-distillation whose networks say the same of every image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ignite.engine import Engine, Events

from vitad_med.errors import ConfigError, VitadError


@dataclass(frozen=True)
class Sign:
    """One way in which collapse shows.

    Attributes:
        monitor: name among the trainer's monitors.
        limit: value beyond which it counts.
        above: whether beyond means above; else below.
        meaning: what it says, and what to try.
    """

    monitor: str
    limit: float
    above: bool
    meaning: str

    def shows(self, value: float) -> bool:
        """Whether a value is beyond the limit; NaN is."""
        return not (value <= self.limit if self.above else value >= self.limit)


class CollapseMonitor:
    """Ends the run when a sign of collapse has held for ``patience`` steps without a break.

    Args:
        patience: steps.
        max_target_entropy: mean entropy of a target over log K; 1 is the uniform target, which says nothing.
        min_usage_entropy: entropy of the mean target over log K; 0 is one prototype for all.
        min_feature_spread: spread of CLS features over a batch (:func:`vitad_med.engines.distillation.feature_spread`).

    Its ``state_dict`` holds how long each sign has held, so that a resumed run stops where a whole one would.
    """

    def __init__(
        self,
        patience: int = 50,
        max_target_entropy: float = 0.99,
        min_usage_entropy: float = 0.2,
        min_feature_spread: float = 0.01,
    ) -> None:
        if patience < 1:
            raise ConfigError(f"collapse#patience {patience} must be at least 1")
        self.patience = patience
        self.signs = (
            Sign(
                "target_entropy",
                max_target_entropy,
                True,
                "targets are almost uniform, images are no longer told apart; try a lower epsilon, a queue, "
                "frozen_prototype_epochs or a lower learning_rate",
            ),
            Sign(
                "usage_entropy",
                min_usage_entropy,
                False,
                "nearly all images fall on one prototype; try objective apmask, or centering sinkhorn",
            ),
            Sign(
                "feature_spread",
                min_feature_spread,
                False,
                "all images have almost the same features; look whether the training images differ, and try a lower "
                "learning_rate or stronger augment",
            ),
        )
        self.held = dict.fromkeys((sign.monitor for sign in self.signs), 0)

    def attach(self, engine: Engine) -> None:
        """Register; looks at every iteration's monitors."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self.look)

    def look(self, engine: Engine) -> None:
        """Count how long each sign has held.

        Raises:
            VitadError: one has held for ``patience`` steps.
        """
        monitors: Mapping[str, float] = engine.state.output["monitors"]  # type: ignore[index,call-overload]
        for sign in self.signs:
            value = monitors[sign.monitor]
            self.held[sign.monitor] = self.held[sign.monitor] + 1 if sign.shows(value) else 0
            if self.held[sign.monitor] >= self.patience:
                raise VitadError(
                    f"training has collapsed: {sign.monitor} is {value:.3g}, {'above' if sign.above else 'below'} "
                    f"{sign.limit:g} for {self.patience} steps (step {engine.state.iteration}): {sign.meaning}"
                )

    def state_dict(self) -> dict[str, Any]:
        """How long each sign has held."""
        return dict(self.held)

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Take up :meth:`state_dict`."""
        self.held.update(state)
