"""pydicom's warnings and log lines quote values of the patient; here they are kept out of logs."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar

_IS_QUIET: ContextVar[bool] = ContextVar("vitad_med_quiet", default=False)


class _Silence(logging.Filter):
    """Drops what pydicom logs in a thread that asked for it, and in no other."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not _IS_QUIET.get()


logging.getLogger("pydicom").addFilter(_Silence())

# Filters of warnings are one for the process: the first thread that comes sets them, the last that goes restores them.
_LOCK = threading.Lock()
_entered = 0
_filters = ExitStack()


@contextmanager
def quiet() -> Iterator[None]:
    """Keep pydicom's warnings and log lines out of the logs, in whatever thread; costs next to nothing when nested."""
    if _IS_QUIET.get():
        yield
        return
    token = _IS_QUIET.set(True)
    _enter()
    try:
        yield
    finally:
        _leave()
        _IS_QUIET.reset(token)


def _enter() -> None:
    global _entered
    with _LOCK:
        if _entered == 0:
            _filters.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
        _entered += 1


def _leave() -> None:
    global _entered
    with _LOCK:
        _entered -= 1
        if _entered == 0:
            _filters.close()
