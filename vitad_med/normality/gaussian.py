"""A Gaussian per position and the Mahalanobis distance to it (Eq. 2 and 3, VISAPP 2023; PaDiM, Defard et al. 2021).

No covariance is inverted: with its Cholesky factor L, the distance of x is the norm of y in L y = x - mean. That is
more accurate than an inverse, and works where torch's batched LU on CPUs crashes. The triangular solve goes tile by
tile; the tiles on the diagonal, of at most 128 channels, are inverted once in float64, so that each step is a batched
matrix product, which is faster than many small solves.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.linalg import lapack
from torch import Tensor

from vitad_med.errors import ConfigError, DataError
from vitad_med.normality.model import NormalityModel, check_choice
from vitad_med.normality.moments import BLOCK, CACHED, GaussianMoments
from vitad_med.normality.tiles import TriangularTiles, chunks

# Jitter that is added to a diagonal where a covariance has no factor, as shares of the diagonal's mean.
JITTER = tuple(10.0**power for power in range(-10, 0))
# A squared pivot below this share of the largest variance is rounding, not data.
PIVOT = 1e-13

logger = logging.getLogger(__name__)


class PositionGaussian(NormalityModel):
    """Mahalanobis distance at each position.

    Args:
        mean: [P, D].
        factor: Cholesky factors of the covariances, lower triangles in tiles.
        jitter: float64 [P], what was added to each diagonal beside epsilon.
        grid: rows and columns, P = rows * columns.
        epsilon: see :class:`GaussianFit`.
        images: that it was fitted on.
    """

    kind: ClassVar[str] = "gaussian"
    mean: Tensor
    jitter: Tensor

    def __init__(
        self, mean: Tensor, factor: TriangularTiles, jitter: Tensor, grid: tuple[int, int], epsilon: float, images: int
    ) -> None:
        # The squared distances of a Gaussian's own samples average D.
        super().__init__(grid, mean.shape[1], math.sqrt(mean.shape[1]))
        self.epsilon, self.images = epsilon, images
        self.register_buffer("mean", mean)
        self.register_buffer("jitter", jitter)
        for name, tile in factor.named("factor").items():
            self.register_buffer(name, tile)
        self._inverted: dict[int, Tensor] = {}

    @property
    def settings(self) -> dict[str, Any]:
        """``epsilon``, and the number of images."""
        return {"epsilon": self.epsilon, "images": self.images}

    @classmethod
    def of_tensors(
        cls, tensors: Mapping[str, Tensor], settings: Mapping[str, Any], grid: tuple[int, int], channels: int
    ) -> PositionGaussian:
        """See :meth:`NormalityModel.of_tensors`."""
        factor = TriangularTiles.of_named(tensors, "factor", channels)
        mean, jitter = tensors.get("mean"), tensors.get("jitter")
        positions = grid[0] * grid[1]
        if mean is None or jitter is None or mean.shape != (positions, channels) or jitter.shape != (positions,):
            raise DataError(f"'mean' or 'jitter' is missing or not of {positions} positions and {channels} channels")
        return cls(mean, factor, jitter, grid, float(settings["epsilon"]), int(settings["images"]))

    @property
    def factor(self) -> TriangularTiles:
        """Cholesky factors, lower triangles in tiles."""
        return TriangularTiles.of_named(dict(self.named_buffers()), "factor", self.channels)

    def distances(self, features: Tensor) -> Tensor:
        """Eq. 3: [B, 1, h, w] of features [B, D, h, w], in the number format of the factors."""
        batch = len(features)
        arranged = features.flatten(2).permute(2, 0, 1)  # [P, B, D]
        factor, inverses, dtype = self.factor, self._inverses(), self.mean.dtype
        squares = []
        budget = CACHED if arranged.device.type == "cpu" else 64 * CACHED  # GPUs want few large steps
        for part in chunks(len(arranged), batch * self.channels * 3 * self.mean.element_size(), budget):
            rest = arranged[part].to(dtype).contiguous() - self.mean[part, None]
            whitened: dict[int, Tensor] = {}
            total, remainder = rest.new_zeros(rest.shape[:2]), rest
            for rows, columns, tile in factor:  # forward substitution, tile by tile
                if columns.start == 0:
                    remainder = rest[:, :, rows]
                if columns.start < rows.start:
                    remainder = remainder - torch.bmm(whitened[columns.start], tile[part].mT)
                    continue
                whitened[rows.start] = torch.bmm(remainder, inverses[rows.start][part].mT)
                total = total + whitened[rows.start].square().sum(dim=2)
            squares.append(total)
        return torch.cat(squares).sqrt().T.reshape(batch, 1, *self.grid)

    def _inverses(self) -> dict[int, Tensor]:
        """Inverses of the factors' tiles on the diagonal by their first row, made at the first call."""
        if not self._inverted:
            with torch.inference_mode(False), torch.no_grad():  # whoever calls first, the next may want gradients
                diagonal = {rows.start: tile for rows, columns, tile in self.factor if rows == columns}
                self._inverted = {start: invert_lower(tile) for start, tile in diagonal.items()}
        return self._inverted

    # Inverses belong to the factors as they were: they go when factors move, change their type, or are read anew.

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> PositionGaussian:
        self._inverted = {}
        super()._apply(fn, recurse)
        return self

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self._inverted = {}
        super()._load_from_state_dict(*args, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_inverted": {}}


class GaussianFit:
    """Collects moments in one pass and factorises them.

    Args:
        epsilon: added to every variance (Eq. 2), because few images leave covariances without full rank.
        double: factors and scores in float64 in place of float32.
        block: see :class:`~vitad_med.normality.moments.GaussianMoments`.

    Raises:
        ConfigError: an epsilon that is not greater than 0.
    """

    kind: ClassVar[str] = "gaussian"

    def __init__(self, epsilon: float = 0.01, double: bool = False, block: int = BLOCK) -> None:
        if epsilon == 0:  # constant features would have no covariance but the jitter, whose size nobody chose
            raise ConfigError("epsilon is 0: give a number greater than 0")
        check_choice("epsilon", epsilon, 0.0)
        self.epsilon, self.double = float(epsilon), double
        self.moments = GaussianMoments(block)

    @property
    def settings(self) -> dict[str, Any]:
        """``epsilon`` and ``double``."""
        return {"epsilon": self.epsilon, "double": self.double}

    @property
    def count(self) -> int:
        """Images so far."""
        return self.moments.count

    def update(self, features: Tensor, streams: Sequence[int] = ()) -> None:
        """Add features [B, D, h, w]; see :meth:`GaussianMoments.update`."""
        self.moments.update(features)

    def merge(self, other: GaussianFit) -> None:
        """Add the images of another collection; see :meth:`GaussianMoments.merge`."""
        self.moments.merge(other.moments)

    def tensors(self) -> dict[str, Tensor]:
        """See :meth:`GaussianMoments.tensors`."""
        return self.moments.tensors()

    def restore(self, tensors: Mapping[str, Tensor], device: torch.device | None = None) -> None:
        """See :meth:`GaussianMoments.restore`."""
        self.moments.restore(tensors, device)

    def finish(self) -> PositionGaussian:
        """Factorise; says when images are fewer than channels, and what jitter was needed.

        Raises:
            DataError: fewer than two images, or a covariance that no jitter mends.
        """
        moments = self.moments
        moments.check_count()
        if moments.count <= moments.channels:
            logger.warning(
                "%d images are too few for the covariance of %d channels: epsilon %g stands for what they do not show; "
                "keep fewer channels (channels_kept) or fit on more images",
                moments.count,
                moments.channels,
                self.epsilon,
            )
        dtype = torch.float64 if self.double else torch.float32
        positions = len(moments.mean)
        factor = TriangularTiles.zeros(positions, moments.channels, dtype, moments.mean.device)
        jitter = moments.mean.new_zeros(positions)
        parts = chunks(positions, moments.channels**2 * 24, 2 * CACHED)
        workspace = moments.mean.new_zeros(parts[0].stop, moments.channels, moments.channels)
        for part in parts:
            lower, jitter[part] = factorise(moments.covariance(part, self.epsilon, workspace))
            factor.store(part, lower)
        if bool((jitter > 0).any()):
            logger.warning(
                "%d of %d covariances had no Cholesky factor until jitter of at most %.3g was added to their diagonal; "
                "a larger epsilon than %g avoids that",
                int((jitter > 0).sum()),
                positions,
                float(jitter.max()),
                self.epsilon,
            )
        return PositionGaussian(moments.mean.to(dtype), factor, jitter, moments.grid, self.epsilon, moments.count)


def factorise(covariances: Tensor) -> tuple[Tensor, Tensor]:
    """Cholesky factors of matrices [P, D, D], whose lower triangles are read, with as little jitter as each needs.

    Returns:
        lower factors [P, D, D], and float64 [P], what was added to each diagonal; 0 where nothing had to be.

    Raises:
        DataError: a matrix has no factor with the largest jitter either.
    """
    lower, failed = _cholesky(covariances)
    jitter = torch.zeros(len(covariances), dtype=torch.float64, device=covariances.device)
    diagonal = covariances.diagonal(dim1=1, dim2=2)
    scale = diagonal.mean(dim=1).clamp(min=0)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    for share in JITTER:
        where = failed.nonzero()[:, 0]
        if not len(where):
            break
        added = share * scale[where]
        again = covariances[where]
        again.diagonal(dim1=1, dim2=2).add_(added[:, None])
        lower[where], still = _cholesky(again)
        jitter[where] = added.double()
        failed[where] = still
    if bool(failed.any()):
        raise DataError(
            f"{int(failed.sum())} covariances have no Cholesky factor even with jitter of {JITTER[-1]:g} of their "
            "diagonal: check the features, or raise epsilon"
        )
    return lower, jitter


def _cholesky(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """Lower factors, and which of them are none, or have pivots that are only rounding."""
    lapack_takes_it = matrices.device.type == "cpu" and matrices.dtype in (torch.float32, torch.float64)
    lower, failed = (_cholesky_cpu if lapack_takes_it else _cholesky_batched)(matrices)
    smallest = lower.diagonal(dim1=1, dim2=2).amin(dim=1).square()
    largest = matrices.diagonal(dim1=1, dim2=2).amax(dim=1)
    return lower, failed | ~(smallest > PIVOT * largest)


def _cholesky_batched(matrices: Tensor) -> tuple[Tensor, Tensor]:
    lower, info = torch.linalg.cholesky_ex(matrices)
    return lower, info != 0


def _cholesky_cpu(matrices: Tensor) -> tuple[Tensor, Tensor]:
    """LAPACK in place, matrix by matrix: torch transposes every matrix on its way there and back, at twice the time."""
    lower = matrices.clone(memory_format=torch.contiguous_format)
    values = lower.numpy()
    potrf = lapack.dpotrf if values.dtype == np.float64 else lapack.spotrf
    # Row-major memory read as LAPACK reads it, by columns, is the transpose: its upper triangle is our lower one.
    info = [potrf(matrix.T, lower=False, clean=True, overwrite_a=True)[1] for matrix in values]
    return lower, torch.tensor(info, dtype=torch.long) != 0


def invert_lower(lower: Tensor) -> Tensor:
    """Inverses of lower triangular matrices [P, D, D], computed in float64, in the number format of the matrices."""
    unit = torch.eye(lower.shape[-1], dtype=torch.float64, device=lower.device)
    inverse = torch.empty_like(lower)
    for part in chunks(len(lower), unit.numel() * 24, CACHED):
        inverse[part] = torch.linalg.solve_triangular(lower[part].double(), unit, upper=False)
    return inverse
