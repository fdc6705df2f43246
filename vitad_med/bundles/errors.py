"""One sentence instead of a chain of tracebacks when the user can mend the fault.

MONAI wraps what a component raises in one RuntimeError per level of the config. The cause is kept (``raise ... from``),
so it can be found again.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

from vitad_med.errors import VitadError

USER_ERROR_STATUS = 2
INTERRUPT_STATUS = 130  # 128 + SIGINT, what shells report
RESUME = "repeat the command to go on from the last checkpoint"


def user_error(error: BaseException | None) -> VitadError | None:
    """The first :class:`VitadError` among ``error`` and the exceptions that caused it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, VitadError):
            return error
        seen.add(id(error))
        error = error.__cause__
    return None


def sentence(error: VitadError) -> str:
    """The message alone; torch's data loader puts a worker's whole traceback into it, of which the last line counts."""
    message = str(error)
    if "Original Traceback" in message:
        message = message.rstrip().splitlines()[-1].split(": ", 1)[-1]
    return message


@contextmanager
def plain_errors() -> Iterator[None]:
    """Around ``monai.bundle.run`` in Python: raises the :class:`VitadError` itself instead of MONAI's RuntimeError."""
    try:
        yield
    except VitadError:
        raise
    except Exception as error:
        cause = user_error(error)
        if cause is None:
            raise
        raise cause from None


def is_bundle_program() -> bool:
    """Whether this process is ``python -m monai.bundle``, also under torchrun."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    return spec is not None and spec.name == "monai.bundle.__main__" and not sys.flags.interactive


def install_error_hook(resume: str = RESUME) -> None:
    """Print ``error: ...`` and exit with status 2 for a :class:`VitadError`, with 130 and ``resume`` for Ctrl-C.

    Other exceptions keep their traceback and status 1.

    Args:
        resume: how to go on after an interruption.
    """
    previous = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if isinstance(error, KeyboardInterrupt):
            print(f"\ninterrupted: {resume}", file=sys.stderr)
            raise SystemExit(INTERRUPT_STATUS)
        mendable = user_error(error)
        if mendable is None:
            previous(kind, error, trace)
            return
        print(f"error: {sentence(mendable)}", file=sys.stderr)
        raise SystemExit(USER_ERROR_STATUS)

    sys.excepthook = hook
