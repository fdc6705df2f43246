"""A calibration holds for one model, one set of settings, one device and precision: other scores are other numbers."""

from __future__ import annotations

from collections.abc import Mapping

from vitad_med.calibration.document import DIGESTS, Calibration
from vitad_med.errors import ConfigError

_MEANINGS = {
    "model_digest": "another model",
    "pipeline_digest": "other settings (such as --window or a key of --set)",
    "backend_digest": "another device or precision",
}
_SHORT = 12


def check_binding(calibration: Calibration, run: Mapping[str, str | None]) -> None:
    """Refuse a run whose scores the calibration says nothing about.

    Args:
        calibration: the one to be used.
        run: ``model_digest``, ``pipeline_digest`` and ``backend_digest`` of the run, from its journal.

    Raises:
        ConfigError: the run has no digests, or one differs; names it, both values and the remedy.
    """
    digests = required_digests(run)
    for name in DIGESTS:
        expected, found = getattr(calibration, name), digests[name]
        if expected != found:
            raise ConfigError(
                f"The calibration is of {_MEANINGS[name]} than the run: {name} is {expected[:_SHORT]} there and "
                f"{found[:_SHORT]} here; calibrate again with `vitad-med calibrate` under the settings of the run."
            )


def required_digests(run: Mapping[str, str | None]) -> dict[str, str]:
    """The three digests of a run.

    Raises:
        ConfigError: one is missing, so that nobody could tell which scores a calibration is for.
    """
    found = {name: run.get(name) for name in DIGESTS}
    missing = [name for name, value in found.items() if not value]
    if missing:
        raise ConfigError(
            f"The run's journal run.json has no {missing[0]}, so a calibration cannot be bound to its model, settings "
            "and device: score the images with a bundle, or write the three digests into run.json."
        )
    return {name: value for name, value in found.items() if value}
