"""Greedy k-centre: a few points that leave none of the others far from all of them (Gonzalez 1985; PatchCore, Roth et
al. 2022)."""

from __future__ import annotations

import logging
import time

import torch
from torch import Tensor

from vitad_med.errors import ConfigError
from vitad_med.normality.nearest import squared_norms
from vitad_med.reproducibility import generator

TELL_EVERY_S = 20.0

logger = logging.getLogger(__name__)


def greedy_k_centre(points: Tensor, size: int, seed: int = 0, projection: int | None = 128) -> Tensor:
    """Indices of at most ``size`` points, each the farthest from those before it.

    The largest distance of any point to its nearest centre is at most twice the smallest that is possible.

    Args:
        points: [N, D].
        size: how many; fewer are returned where the rest are copies of centres.
        seed: of the first point and of the projection.
        projection: distances are measured in this many random directions when D is larger, which changes them little
            (Johnson and Lindenstrauss 1984) and costs D / projection times less; None measures them as they are.

    Returns:
        int64 [at most size], in the order of their choice.

    Raises:
        ConfigError: a size or projection below 1.
    """
    if size < 1 or (projection is not None and projection < 1):
        raise ConfigError(f"coreset_size is {size} and projection {projection}: give at least 1")
    count, channels = points.shape
    draw = generator(seed)
    first = int(torch.randint(count, (), generator=draw))
    points = points.float() - points.float().mean(dim=0)
    if projection is not None and projection < channels:
        directions = torch.randn(channels, projection, generator=draw) / projection**0.5
        points = points @ directions.to(points)
    norms = squared_norms(points)
    nearest = torch.full_like(norms, torch.inf)
    chosen = [first]
    began = spoke = time.monotonic()
    while len(chosen) < min(size, count):
        centre = chosen[-1]
        squares = torch.addmv(norms + norms[centre], points, points[centre], alpha=-2)
        torch.minimum(nearest, squares, out=nearest)
        nearest[centre] = 0  # exactly, whatever rounding says
        farthest = int(nearest.argmax())
        # A copy of a centre is as far from it as rounding makes it.
        if float(nearest[farthest]) <= 1e-6 * float(norms[farthest] + norms[centre]):
            break
        chosen.append(farthest)
        now = time.monotonic()
        if now - spoke > TELL_EVERY_S:
            spoke, done = now, len(chosen) / min(size, count)
            left = (now - began) * (1 - done) / done
            logger.info("coreset: %d of %d centres, %.0f s left", len(chosen), min(size, count), left)
    return torch.tensor(chosen, device=points.device)
