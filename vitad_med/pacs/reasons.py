"""Why something failed, in words that hold nothing of a patient."""

from __future__ import annotations

import errno
import json
import traceback
from collections.abc import Sequence
from pathlib import Path

from vitad_med.errors import StorageError, VitadError


def reason_of(error: BaseException) -> str:
    """This package's own sentence; of any other error its kind and place, for its text may quote the file."""
    if isinstance(error, VitadError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    frames = traceback.extract_tb(error.__traceback__)
    place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{place}"


def is_storage(error: BaseException) -> bool:
    """Whether it is this machine's disk that failed, and not what it was to hold."""
    full = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
    return isinstance(error, StorageError) or (isinstance(error, OSError) and error.errno in full)


def failure_of(error: BaseException, attempts: int) -> bytes:
    """Content of ``reason.json`` for a study that could not be scored."""
    return _encode({"what": "scoring failed", "attempts": attempts, "why": reason_of(error)})


def refusal_of(refused: Sequence[tuple[str, str]]) -> bytes:
    """Content of ``reason.json`` for a study whose results the archive refused."""
    return _encode({"what": "the archive refused results", "refused": [{"image": n, "why": w} for n, w in refused]})


def _encode(content: dict[str, object]) -> bytes:
    return json.dumps(content, indent=1).encode() + b"\n"
