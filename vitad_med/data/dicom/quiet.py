"""Warnings and log lines of pydicom and highdicom quote values of the patient; here they are kept out of logs."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

# Levels of logs and filters of warnings are one for the process: the first thread that comes sets them, the last that
# goes restores them. Each on its own would restore what another had set.
_LOCK = threading.Lock()
_inside = 0
_settings = ExitStack()


@contextmanager
def quiet() -> Iterator[None]:
    """Keep warnings and log lines of both out of the logs, in whatever thread; costs next to nothing when nested."""
    _enter()
    try:
        yield
    finally:
        _leave()


def _enter() -> None:
    global _inside
    with _LOCK:
        if _inside == 0:
            _settings.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
            for name in ("pydicom", "highdicom"):
                log = logging.getLogger(name)
                _settings.callback(log.setLevel, log.level)
                log.setLevel(logging.CRITICAL)
        _inside += 1


def _leave() -> None:
    global _inside
    with _LOCK:
        _inside -= 1
        if _inside == 0:
            _settings.close()
