"""Models of what features of normal images look like, position by position or all together.

A :class:`~vitad_med.normality.fitting.NormalityFitting` goes once over the normal images and writes a file; a
:class:`~vitad_med.normality.detector.NormalityDetector` reads it and scores images with it.
"""

from vitad_med.normality.detector import NormalityDetector, load_normality
from vitad_med.normality.fitting import NormalityFitting, process_shard
from vitad_med.normality.kinds import choose_fit
from vitad_med.normality.merge import merge_parts, write_model_of_parts
from vitad_med.normality.state import model_digest

__all__ = [
    "NormalityDetector",
    "NormalityFitting",
    "choose_fit",
    "load_normality",
    "merge_parts",
    "model_digest",
    "process_shard",
    "write_model_of_parts",
]
