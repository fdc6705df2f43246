"""Student and teacher of self-distillation: an encoder with a prototype head each; the teacher is a moving average."""

from __future__ import annotations

import copy

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from vitad_med.networks.heads import MLPHead
from vitad_med.networks.vit import normalize
from vitad_med.networks.weights import build_encoder


class DistillationNetwork(nn.Module):
    """An encoder followed by a prototype head.

    Args:
        architecture: timm ViT with a CLS token.
        weights: starting weights (:mod:`vitad_med.networks.weights`).
        image_size: the position-embedding grid in pixels.
        prototypes: output dimensions K.
        head_hidden: width of the head's hidden layers.
        head_bottleneck: width of the normalised bottleneck.
        head_batch_norm: see :class:`~vitad_med.networks.heads.MLPHead`.
        drop_path_rate: stochastic depth (student only: :meth:`teacher_copy` switches it off).
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        architecture: str = "vit_tiny_patch16_224",
        weights: str = "none",
        image_size: int = 224,
        prototypes: int = 2048,
        head_hidden: int = 1024,
        head_bottleneck: int = 256,
        head_batch_norm: bool = True,
        drop_path_rate: float = 0.1,
    ) -> None:
        super().__init__()
        self.encoder: VisionTransformer
        self.encoder, (mean, std) = build_encoder(architecture, weights, image_size, drop_path_rate)
        self.head = MLPHead(
            self.encoder.embed_dim,
            prototypes,
            head_hidden,
            head_bottleneck,
            prototypes=True,
            batch_norm=head_batch_norm,
        )
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """[B, 1 or 3, H, W] in 0..1 to prototype logits [B, K]."""
        tokens = self.encoder.forward_features(normalize(images, self.mean, self.std))
        return self.head(tokens[:, 0])

    def teacher_copy(self) -> DistillationNetwork:
        """A copy that takes no gradient; its encoder is in evaluation mode, its head normalises over the batch."""
        teacher = copy.deepcopy(self).eval()
        teacher.head.train()
        return teacher.requires_grad_(False)


@torch.no_grad()
def update_teacher(teacher: nn.Module, student: nn.Module, momentum: float) -> None:
    """Exponential moving average, teacher = momentum * teacher + (1 - momentum) * student."""
    own: list[Tensor] = list(teacher.parameters())
    torch._foreach_lerp_(own, [p.detach() for p in student.parameters()], 1.0 - momentum)
    for mine, theirs in zip(teacher.buffers(), student.buffers(), strict=True):
        mine.copy_(theirs)
