"""Synthetic anomalies: a normal image in, an image with a known abnormal region out."""

from vitad_med.synthesis.attn_synth import AttnSynth
from vitad_med.synthesis.base import SyntheticBatch, SyntheticSample, SyntheticScheme, sample_generator, summarize_info
from vitad_med.synthesis.location import LocationLaw
from vitad_med.synthesis.patch import PatchLaw, Placement
from vitad_med.synthesis.poisson import poisson_blend

__all__ = [
    "AttnSynth",
    "LocationLaw",
    "PatchLaw",
    "Placement",
    "SyntheticBatch",
    "SyntheticSample",
    "SyntheticScheme",
    "poisson_blend",
    "sample_generator",
    "summarize_info",
]
