"""Which patch tokens of a view the student does not see (Eq. 3-4, AAAI 2023)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from vitad_med.errors import ConfigError

Kind = Literal["attention", "random", "none"]


@dataclass(frozen=True)
class Masking:
    """How many and which of a view's patch tokens go.

    Attributes:
        kind: ``attention`` the least salient ones, as the paper does; ``random`` any; ``none`` none.
        ratio: r, the fraction of a view's N tokens that goes: k = floor(r N). 0 masks nothing.
        local: local views are masked as well, not the global ones alone.
    """

    kind: Kind = "attention"
    ratio: float = 0.3
    local: bool = True

    def __post_init__(self) -> None:
        if self.kind not in ("attention", "random", "none"):
            raise ConfigError(f"masking '{self.kind}' is unknown: use 'attention', 'random' or 'none'")
        if not 0 <= self.ratio < 1:
            raise ConfigError(
                f"mask_ratio {self.ratio} must lie in 0..1 and below 1, which would leave no patch: the paper's is 0.3"
            )

    @property
    def needs_saliency(self) -> bool:
        """Whether a saliency map decides."""
        return self.kind == "attention" and self.ratio > 0

    def count(self, tokens: int) -> int:
        """k = floor(r N) of ``tokens`` = N; 0 where nothing is masked."""
        if self.kind == "none":
            return 0
        return math.floor(self.ratio * tokens + 1e-9)  # .29 * 100 is a little below 29

    def kept(self, saliency: Tensor, generator: torch.Generator) -> Tensor | None:
        """Indices of the tokens that stay.

        Args:
            saliency: of each token, [B, N]; ``random`` looks at its shape and device only.
            generator: CPU generator of the draws of ``random``.

        Returns:
            [B, N - k] int64, ascending in each row, or None where nothing goes.
        """
        count = self.count(saliency.shape[1])
        if count == 0:
            return None
        if self.kind == "random":
            saliency = torch.rand(saliency.shape, generator=generator).to(saliency.device)
        return without_lowest(saliency, count)


def without_lowest(saliency: Tensor, count: int) -> Tensor:
    """Indices of all but the ``count`` lowest values of each row; of equal values the earlier index goes first.

    Args:
        saliency: [B, N].
        count: k in 0..N.

    Returns:
        [B, N - k] int64, ascending in each row.
    """
    order = torch.sort(saliency, dim=1, stable=True).indices
    return order[:, count:].sort(dim=1).values


def complement(kept: Tensor, tokens: int) -> Tensor:
    """True where a token is not among those kept, [B, N] bool."""
    hidden = torch.ones(len(kept), tokens, dtype=torch.bool, device=kept.device)
    return hidden.scatter_(1, kept, False)
