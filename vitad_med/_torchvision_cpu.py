"""Let ``import torchvision`` succeed beside a CPU-only torch.

The torchvision wheel on PyPI is a CUDA build. Beside a CPU build of torch its extension library does not load, and the
import dies with ``operator torchvision::nms does not exist`` (pytorch/vision#9085), which takes ``timm`` and
``torchmetrics`` with it. torchvision only needs the *schemas* of two operators at import time, so this module defines
them where they are missing. On a healthy install it does nothing. The operators themselves stay unavailable: vitad_med
uses neither ``torchvision.ops.nms`` nor ``torchvision.io``.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
from pathlib import Path

import torch

_SCHEMAS = {
    "nms": "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
# torch.library drops a definition when its Library object is collected, so the module keeps it alive.
_library: torch.library.Library | None = None


def _extension_loads() -> bool:
    """Whether torchvision's compiled operators load into this torch (true too when torchvision is absent)."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return True
    for suffix in importlib.machinery.EXTENSION_SUFFIXES:
        extension = Path(spec.origin).parent / f"_C{suffix}"
        if extension.is_file():
            try:
                torch.ops.load_library(str(extension))
            except OSError:
                return False
            return True
    return False


def ensure_importable() -> bool:
    """Define the missing schemas once.

    Returns:
        True when the cure was needed and applied, False on a healthy install.
    """
    global _library
    if _library is not None:
        return True
    if _extension_loads():
        return False
    _library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in _SCHEMAS.values():
        _library.define(schema)
    return True


applied = ensure_importable()
