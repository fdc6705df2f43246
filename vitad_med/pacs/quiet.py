"""Keeps identifiers out of the logs of the libraries that talk to archives."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from pynetdicom import _config

from vitad_med.data.dicom.quiet import quiet

_TALKATIVE = ("pynetdicom", "dicomweb_client", "retrying", "urllib3", "requests")


@contextmanager
def quiet_network() -> Iterator[None]:
    """Silence the libraries, which write UIDs, titles and URLs; for a whole command, as it is the process's state."""
    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    levels = [logger.level for logger in loggers]
    handlers = _config.LOG_HANDLER_LEVEL
    for logger in loggers:
        # Above CRITICAL: pynetdicom's loggers hand nothing on, not even what it calls an exception of a handler.
        logger.setLevel(logging.CRITICAL + 1)
    _config.LOG_HANDLER_LEVEL = "none"
    try:
        with quiet():
            yield
    finally:
        _config.LOG_HANDLER_LEVEL = handlers
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
