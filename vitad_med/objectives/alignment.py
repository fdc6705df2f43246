"""Alignment of attention entropy with the statistics of training images (Eq. 10-12, BMVC 2022)."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from vitad_med.errors import ConfigError

Moment = Literal["unbiased", "literal"]


class AlignmentLoss(nn.Module):
    """Distance between class-wise statistics of a batch's attention entropy and those of the training images.

    ``1/|C'| sum_c ( ||mu_c^s - mu_c||_2 / log N + ||M_c^s - M_c||_2 / (log N)^2 )`` over the classes C' among the
    pseudo-labels of the batch.

    The second central moment of n images is too small by (n - 1) / n, which pulls every small batch the same way.
    ``unbiased`` divides by n - 1 on both sides, and a class with one image keeps its mean term only; ``literal`` is the
    paper's Eq. 11.

    Args:
        mean: of the training images, by class (0 normal, 1 synthetic) and token, [2, N] (Eq. 7).
        second_moment: likewise [2, N] (Eq. 8), of the kind that ``moment`` names.
        moment: ``unbiased`` or ``literal``.
    """

    mean: Tensor
    second_moment: Tensor

    def __init__(self, mean: Tensor, second_moment: Tensor, moment: Moment = "unbiased") -> None:
        super().__init__()
        if moment not in get_args(Moment):
            raise ConfigError(f"moment '{moment}' is unknown: use 'unbiased' or 'literal'")
        self.moment = moment
        self.register_buffer("mean", mean)
        self.register_buffer("second_moment", second_moment)

    def forward(self, entropy: Tensor, pseudo_labels: Tensor) -> Tensor:
        """Loss of entropies [B, N] (:func:`vitad_med.networks.attention_entropy.attention_entropy`) and classes [B]."""
        tokens = entropy.shape[1]
        if tokens != self.mean.shape[1]:
            raise ConfigError(
                f"the statistics are of {self.mean.shape[1]} tokens, the images give {tokens}: make statistics at this "
                "image_size"
            )
        scale = math.log(tokens)
        terms = []
        for label in (0, 1):
            members = entropy[pseudo_labels == label]
            if len(members) == 0:
                continue
            mean = members.mean(dim=0)
            terms.append(torch.linalg.vector_norm(self.mean[label].to(mean) - mean) / scale)
            if len(members) > 1 or self.moment == "literal":
                moment = members.var(dim=0, correction=0 if self.moment == "literal" else 1)
                difference = self.second_moment[label].to(moment) - moment
                terms.append(torch.linalg.vector_norm(difference) / scale**2)
        classes = len(pseudo_labels.unique())
        return torch.stack(terms).sum() / classes
