"""What computes scores and maps: torch, or a runtime with an exported network that was proved to give the same."""

from vitad_med.scoring.backends.base import BACKENDS, EXPORTED, Backend, exported_path
from vitad_med.scoring.backends.opening import open_backend

__all__ = ["BACKENDS", "EXPORTED", "Backend", "exported_path", "open_backend"]
