"""The proxy-task network: encoder, classifier on the CLS token, learned aggregation of the heads' attention maps."""

from __future__ import annotations

import math
from typing import Literal

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from vitad_med.errors import ConfigError
from vitad_med.networks.attention_entropy import attention_entropy
from vitad_med.networks.detail import DetailStem
from vitad_med.networks.heads import MLPHead
from vitad_med.networks.vit import Encoding, check_image_size, encode, head_count, normalize, patch_size
from vitad_med.networks.weights import build_encoder
from vitad_med.outputs import AnomalyOutput, ProxyOutput

Aggregate = Literal["learned", "mean", "best_head"]


class HeadAggregator(nn.Module):
    """Weights the attention maps of the last block's heads into one map (BMVC 2022, section 3.2).

    The map is ``sum_h w_h A_h`` with ``w = softmax(weight_logits)``, times N so that its values do not fall with
    resolution, then ``a x + b`` with a > 0 through softplus. b starts so that the mean probability equals
    ``prior_area``. The affine part and the softmax are this project's: unconstrained weights may turn negative, which
    leaves the attention entropy of Eq. 6 undefined.

    Args:
        heads: number of attention heads.
        aggregate: ``learned`` weights, their plain ``mean``, or the single ``best_head`` by learned weight (hard, with
            a straight-through gradient).
        prior_area: expected fraction of anomalous pixels.
    """

    def __init__(self, heads: int, aggregate: Aggregate = "learned", prior_area: float = 0.06) -> None:
        super().__init__()
        if aggregate not in ("learned", "mean", "best_head"):
            raise ConfigError(f"aggregate '{aggregate}' is unknown: use 'learned', 'mean' or 'best_head'")
        self.aggregate = aggregate
        self.weight_logits = nn.Parameter(torch.zeros(heads), requires_grad=aggregate != "mean")
        self.slope_raw = nn.Parameter(torch.tensor(math.log(math.expm1(1.0))))
        # sum_h w_h A_h N averages about 1, so a x + b has the prior's logit there.
        self.offset = nn.Parameter(torch.tensor(math.log(prior_area / (1 - prior_area)) - 1.0))

    def head_weights(self) -> Tensor:
        """Non-negative weights that sum to 1, [heads]."""
        soft = self.weight_logits.softmax(dim=0)
        if self.aggregate != "best_head":
            return soft
        hard = nn.functional.one_hot(soft.argmax(), len(soft)).to(soft)
        return hard + soft - soft.detach()

    def forward(self, attention: Tensor) -> Tensor:
        """Attention [B, heads, N] to map logits [B, N]."""
        combined = torch.einsum("h,bhn->bn", self.head_weights(), attention.float()) * attention.shape[-1]
        return nn.functional.softplus(self.slope_raw) * combined + self.offset


class ProxyNetwork(nn.Module):
    """ViT encoder with a two-class head on the CLS token and an aggregated attention map.

    A linear classifier of single patches, on the tokens that the last block attends to, helps training from weak
    weights (``token_weight`` of the loss), and so does one on the detail stem; neither score nor map use them.

    Args:
        architecture: timm ViT with a CLS token.
        weights: ``embedded``, ``none``, a file, or a timm name (:mod:`vitad_med.networks.weights`).
        image_size: pixels; the position-embedding grid.
        head_hidden: width of the head's hidden layers (DINO's 2048; ViT-Ti here uses less).
        head_bottleneck: width before the two logits.
        aggregate: see :class:`HeadAggregator`.
        detach_maps: keep attention out of the Dice gradient, as the paper does.
        prior_area: see :class:`HeadAggregator`.
        drop_path_rate: stochastic depth of the encoder.
        detail_width: channels of the convolutions beside the patch embedding, see
            :class:`~vitad_med.networks.detail.DetailStem`; 0 is the paper's plain ViT.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        architecture: str = "vit_tiny_patch16_224",
        weights: str = "embedded",
        image_size: int = 224,
        head_hidden: int = 512,
        head_bottleneck: int = 256,
        aggregate: Aggregate = "learned",
        detach_maps: bool = True,
        prior_area: float = 0.06,
        drop_path_rate: float = 0.0,
        detail_width: int = 0,
    ) -> None:
        super().__init__()
        self.encoder: VisionTransformer
        self.encoder, (mean, std) = build_encoder(architecture, weights, image_size, drop_path_rate)
        self.head = MLPHead(self.encoder.embed_dim, 2, head_hidden, head_bottleneck)
        self.aggregator = HeadAggregator(head_count(self.encoder), aggregate, prior_area)
        self.token_head = nn.Sequential(nn.LayerNorm(self.encoder.embed_dim), nn.Linear(self.encoder.embed_dim, 1))
        self.detail = (
            DetailStem(detail_width, self.encoder.embed_dim, patch_size(self.encoder)) if detail_width else None
        )
        self.detach_maps = detach_maps
        # Part of the state: a checkpoint must not depend on which weights training started from.
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def normalize(self, images: Tensor) -> Tensor:
        """[B, 1 or 3, H, W] intensities in 0..1 to the encoder's normalised [B, 3, H, W]."""
        if images.shape[1] not in (1, 3):
            raise ConfigError(f"images have {images.shape[1]} channels: the network takes 1 (grey) or 3 (colour)")
        return normalize(images, self.mean, self.std)

    def train_outputs(self, images: Tensor) -> ProxyOutput:
        """Logits of the image, the map and single patches, of images [B, C, H, W] in 0..1."""
        return self._outputs(images)[0]

    def adaptation_outputs(self, images: Tensor, renormalise: bool = True) -> tuple[ProxyOutput, Tensor]:
        """As :meth:`train_outputs`, and the attention entropy of each patch token (Eq. 6, BMVC 2022), [B, N].

        The weights of the heads are constants here: adaptation leaves the aggregation alone.
        """
        output, encoding = self._outputs(images)
        weights = self.aggregator.head_weights().detach()
        return output, attention_entropy(self.encoder, encoding.entering, weights, renormalise=renormalise)

    def features(self, images: Tensor) -> Tensor:
        """What the head classifies, of images [B, C, H, W] in 0..1: the CLS token after the final norm, [B, D]."""
        return self._outputs(images)[1].cls

    def _outputs(self, images: Tensor) -> tuple[ProxyOutput, Encoding]:
        normalized = self.normalize(images)
        detail, evidence = (None, None) if self.detail is None else self.detail(normalized)
        encoding = encode(self.encoder, normalized, detach_attention=self.detach_maps, detail=detail)
        grid = (images.shape[0], 1, *encoding.grid)  # len() would fix the batch of an exported graph
        map_logits = self.aggregator(encoding.attention).reshape(grid)
        token_logits = self.token_head(encoding.attended).float().reshape(grid)
        if evidence is not None:
            token_logits = torch.cat([token_logits, evidence.float()], dim=1)
        return ProxyOutput(self.head(encoding.cls).float(), map_logits, token_logits), encoding

    def predict(self, images: Tensor) -> AnomalyOutput:
        """Image score = probability of class 1; map = aggregated attention, resized bilinearly to the images' size."""
        if not torch.jit.is_tracing() and not torch.compiler.is_compiling():
            for side in images.shape[-2:]:
                check_image_size(self.encoder, int(side))
        return self.finish(self.train_outputs(images), (images.shape[-2], images.shape[-1]))

    @staticmethod
    def finish(output: ProxyOutput, size: tuple[int, int]) -> AnomalyOutput:
        """Score and map of the logits; the map resized bilinearly to ``size``, (height, width) of the images."""
        amap = nn.functional.interpolate(output.map_logits.sigmoid(), size=size, mode="bilinear", align_corners=False)
        return AnomalyOutput(output.logits.softmax(dim=1)[:, 1], amap)

    def forward(self, images: Tensor) -> Tensor:
        """Map [B, 1, H, W] in 0..1 of images [B, C, H, W] in 0..1; :meth:`predict` gives the score too."""
        return self.predict(images).map
