"""Checkpoints and other results that are either whole or absent."""

from __future__ import annotations

import argparse
import io
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from vitad_med.errors import StorageError, WeightsError


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary name beside ``path`` that replaces it when the block ends well, after fsync.

    Raises:
        StorageError: disk full, read-only or missing rights; ``path`` keeps its old content.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        os.close(handle)
    except OSError as error:
        raise StorageError(f"cannot write '{path}': {error.strerror or error}; choose another folder") from error
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except OSError as error:
        raise StorageError(
            f"cannot write '{path}': {error.strerror or error}; the file written before is intact, "
            "free space and run the same command again"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    """The mask that keeps files of this process from others; reading it needs setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def save_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """``torch.save`` to a temporary name, fsync, rename."""
    # Through memory: torch's own writer hides a full disk behind an internal error about positions.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(buffer.getbuffer())


def save_safetensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Safetensors with string metadata, written atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(safetensors_bytes(tensors, metadata))


def safetensors_bytes(tensors: dict[str, Tensor], metadata: dict[str, str]) -> bytes:
    """The content of a safetensors file; the same for the same tensors and metadata.

    The library writes metadata in another order each time: here the header's keys are sorted.
    """
    raw = save({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata)
    start = 8 + int.from_bytes(raw[:8], "little")
    header = json.dumps(json.loads(raw[8:start]), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    header += b" " * (-len(header) % 8)  # the format wants the tensors to begin at a multiple of 8 bytes
    return len(header).to_bytes(8, "little") + header + raw[start:]


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint as tensors and plain containers only.

    Raises:
        WeightsError: missing, truncated, or holding anything else.
    """
    if not path.is_file():
        raise WeightsError(
            f"checkpoint '{path}' does not exist: train first, and give the model.pt that training wrote"
        )
    try:
        # DINO's published checkpoints hold their command line as a plain namespace.
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling errors have no common base class
        raise WeightsError(f"checkpoint '{path}' is truncated or holds more than tensors and plain values") from error
    if not isinstance(content, dict):
        raise WeightsError(f"checkpoint '{path}' holds no dictionary")
    return content
