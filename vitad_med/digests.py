"""SHA-256 digests that name a model, a configuration or a file by its content, and what differs between settings."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


def state_digest(state: Mapping[str, Tensor]) -> str:
    """Digest of a state dict: names, shapes, types and bytes, independent of order and file format."""
    sha = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        sha.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        sha.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes() if tensor.numel() else b"")
    return sha.hexdigest()


def config_digest(config: Mapping[str, Any]) -> str:
    """Digest of plain values, independent of key order."""
    return hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """Digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def first_difference(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> tuple[str, str, str] | None:
    """The first key whose values differ, and both values in words; a key that only one has differs too."""
    for key in (*ours, *(key for key in theirs if key not in ours)):
        one, two = ours.get(key), theirs.get(key)
        if one != two:
            return key, short(one), short(two)
    return None


def short(value: Any) -> str:
    """A value as messages show it: digests by their first 12 digits."""
    text = str(value)
    return text[:12] if re.fullmatch("[0-9a-f]{64}", text) else repr(value)
