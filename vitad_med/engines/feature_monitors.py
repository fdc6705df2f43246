"""What the CLS features of a batch say of collapse, whatever the objective."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F


@torch.no_grad()
def feature_monitors(teacher: Tensor, student: Tensor) -> dict[str, float]:
    """Spread of features, and whether two views of an image are more alike than views of different images.

    Args:
        teacher: CLS features of one view of each image, [B, D] with B of at least 2.
        student: of another view of the same images, [B, D].

    Returns:
        ``feature_spread``: mean standard deviation per dimension of the teacher's unit vectors, times sqrt(D). 0 where
        all point one way, about 1 where they are spread over the whole sphere. ``identity``: mean cosine between
        views of one image less that between views of different images, over the largest possible difference. About 0
        where images cannot be told apart, as constant ones cannot however much augmentation makes them differ.
    """
    mine, theirs = F.normalize(teacher.float(), dim=-1), F.normalize(student.float(), dim=-1)
    count = len(mine)
    cosine = mine @ theirs.T
    same = cosine.diagonal().mean()
    different = (cosine.sum() - cosine.diagonal().sum()) / (count * (count - 1))
    return {
        "feature_spread": float(mine.std(dim=0).mean() * math.sqrt(mine.shape[1])),
        "identity": float((same - different) / (1 - different).clamp(min=1e-6)),
    }
