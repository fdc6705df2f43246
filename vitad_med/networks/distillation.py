"""Student and teacher of self-distillation: an encoder with a prototype head each; the teacher is a moving average."""

from __future__ import annotations

import copy
from typing import NamedTuple

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from vitad_med.networks.heads import MLPHead
from vitad_med.networks.masked import forward_tokens
from vitad_med.networks.vit import normalize
from vitad_med.networks.weights import build_encoder


class DistillationOutput(NamedTuple):
    """What a network says of a batch of views.

    Attributes:
        logits: prototype logits of the CLS token, [B, K].
        features: the CLS token before the head, [B, D].
        patches: prototype logits of the patches that were asked for, image by image, [M, K]; None where none were.
    """

    logits: Tensor
    features: Tensor
    patches: Tensor | None


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
        mask_token: have a learned token that stands in for hidden patches (iBOT).
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
        mask_token: bool = False,
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

        self.mask_token: nn.Parameter | None = None
        if mask_token:
            self.mask_token = nn.Parameter(torch.zeros(1, 1, 1, self.encoder.embed_dim))
            nn.init.normal_(self.mask_token, std=0.02)

    def forward(
        self, images: Tensor, kept: Tensor | None = None, hidden: Tensor | None = None, read: Tensor | None = None
    ) -> DistillationOutput:
        """Prototype logits of views.

        Args:
            images: [B, 1 or 3, H, W] in 0..1.
            kept: indices of the patch tokens that are not dropped, [B, n]; None is all.
            hidden: True where the mask token stands in for a patch, [B, N]; not together with ``kept``.
            read: True where a patch's own logits are asked for, [B, N], with as many patches in each image.
        """
        tokens = forward_tokens(
            self.encoder,
            normalize(images, self.mean, self.std),
            kept,
            hidden,
            None if hidden is None else self.mask_token,
        )
        patches = None if read is None else self.head(tokens[:, self.encoder.num_prefix_tokens :][read])
        return DistillationOutput(self.head(tokens[:, 0]), tokens[:, 0], patches)

    def teacher_copy(self) -> DistillationNetwork:
        """A copy that takes no gradient; its encoder is in evaluation mode, its head normalises over the batch."""
        teacher = copy.deepcopy(self).eval()
        teacher.head.train()
        return teacher.requires_grad_(False)


@torch.no_grad()
def update_teacher(
    teacher: DistillationNetwork, student: DistillationNetwork, momentum: float, shared_prototypes: bool = False
) -> None:
    """Exponential moving average, teacher = momentum * teacher + (1 - momentum) * student.

    Args:
        teacher, student: networks of one shape.
        momentum: weight of the teacher, 0..1.
        shared_prototypes: the teacher takes the student's prototypes as they are: one set of them serves both, as in
            AAAI 2023 and MSN; DINO averages them too.
    """
    own: list[Tensor] = list(teacher.parameters())
    torch._foreach_lerp_(own, [p.detach() for p in student.parameters()], 1.0 - momentum)
    for mine, theirs in zip(teacher.buffers(), student.buffers(), strict=True):
        mine.copy_(theirs)
    if shared_prototypes:
        for mine, theirs in zip(teacher.head.last.parameters(), student.head.last.parameters(), strict=True):
            mine.copy_(theirs)
