"""Mean and squared deviations of attention entropy by class and token, in one pass over the images (Eq. 7, 8).

Pairwise updates after Chan, Golub and LeVeque (1979): sums of squares would cancel, because entropies of a token differ
between images by far less than they are large.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vitad_med.errors import DataError


@dataclass(frozen=True, eq=False)
class EntropyMoments:
    """Statistics of some images by class (0 normal, 1 synthetic) and patch token.

    Attributes:
        mean: float64 [2, N], nats; 0 for a class without images.
        squares: float64 [2, N], sums of squared deviations from ``mean``.
        count: int64 [2], images of each class.
    """

    mean: Tensor
    squares: Tensor
    count: Tensor

    @classmethod
    def of(cls, entropy: Tensor, labels: Tensor) -> EntropyMoments:
        """Statistics of entropies [B, N] of images with labels [B] of 0 and 1; a class may be absent.

        Raises:
            DataError: shapes do not match, a label is neither, or an entropy is not finite.
        """
        if entropy.ndim != 2 or labels.shape != entropy.shape[:1]:
            raise DataError(
                f"attention entropies of shape {list(entropy.shape)} and labels of shape {list(labels.shape)}: they "
                "must be [images, tokens] and [images]"
            )
        values, classes = entropy.detach().cpu().double(), labels.detach().cpu()
        if not bool(((classes == 0) | (classes == 1)).all()):
            raise DataError("labels of attention entropies must be 0 (normal) or 1 (synthetic)")
        if not bool(values.isfinite().all()):
            raise DataError("an attention entropy is not finite: check the model's weights, or switch amp off")
        parts = [values[classes == label] for label in (0, 1)]
        mean = torch.stack([part.mean(dim=0) if len(part) else part.new_zeros(part.shape[1]) for part in parts])
        squares = torch.stack([((part - mean[k]) ** 2).sum(dim=0) for k, part in enumerate(parts)])
        return cls(mean, squares, torch.tensor([len(part) for part in parts]))

    def merge(self, other: EntropyMoments) -> EntropyMoments:
        """Statistics of both sets of images together.

        Raises:
            DataError: the numbers of tokens differ.
        """
        if self.mean.shape != other.mean.shape:
            raise DataError(
                f"attention entropies of {self.mean.shape[1]} and of {other.mean.shape[1]} tokens cannot be merged"
            )
        count = self.count + other.count
        share = (other.count.double() / count.clamp(min=1))[:, None]
        difference = other.mean - self.mean
        return EntropyMoments(
            self.mean + share * difference,
            self.squares + other.squares + difference**2 * share * self.count.double()[:, None],
            count,
        )


class MomentAccumulator:
    """Takes batches of any size in any order."""

    def __init__(self) -> None:
        self._moments: EntropyMoments | None = None

    def update(self, entropy: Tensor, labels: Tensor) -> None:
        """Add entropies [B, N] of images with labels [B] of 0 (normal) and 1 (synthetic).

        Raises:
            DataError: see :meth:`EntropyMoments.of` and :meth:`EntropyMoments.merge`; nothing is added.
        """
        batch = EntropyMoments.of(entropy, labels)
        self._moments = batch if self._moments is None else self._moments.merge(batch)

    @property
    def moments(self) -> EntropyMoments:
        """What was taken so far.

        Raises:
            DataError: nothing.
        """
        if self._moments is None:
            raise DataError("there are no statistics of attention entropy yet: no batch was added")
        return self._moments
