"""ConTNet-B (Yan et al. 2021, arXiv:2104.13497): transformer encoders on single patches, mixed by convolutions.

Every encoder sees one square patch of a feature map at a time; the 3x3 convolution after each pair of encoders is what
carries information across the borders. The largest patches are 14 cells at stride 16, so an image's sides must be
multiples of 224.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from vitad_med.errors import ConfigError

Position = Literal["absolute", "relative"]

WIDTHS = (64, 128, 256, 512)
BLOCKS = (3, 4, 6, 3)
HEADS = (1, 2, 4, 8)
HIDDEN = (256, 512, 1024, 1024)
DROPOUT = (0.0, 0.0, 0.1, 0.1)
PATCHES = ((7, 14), (7, 14), (7, 14), (7, 7))
LAST_DROPOUT = 0.2
MULTIPLE = 224


class StageFeatures(NamedTuple):
    """Feature maps of the four stages.

    Attributes:
        pre_transition: what enters the last block of each stage; of 224 px 64@56, 128@28, 256@14, 512@7.
        output: what leaves it; of 224 px 128@28, 256@14, 512@7, 1024@7.
    """

    pre_transition: tuple[Tensor, ...]
    output: tuple[Tensor, ...]


class PatchEncoder(nn.Module):
    """One transformer encoder layer, applied to each patch of a feature map as a sequence of its own.

    Args:
        width: channels; even, and a multiple of ``heads``.
        hidden: width of the MLP.
        heads: of the self-attention.
        patch: side of a patch in cells; the map's sides are multiples of it.
        dropout: of attention weights and of both layers' outputs, in training.
        position: ``absolute`` adds a learned vector of the row to half of the channels and one of the column to the
            other half; ``relative`` adds a learned bias for each offset to the attention logits.
        pre_norm: normalise before each layer, in place of after the sum.
    """

    offsets: Tensor

    def __init__(
        self,
        width: int,
        hidden: int,
        heads: int,
        patch: int,
        dropout: float = 0.0,
        position: Position = "absolute",
        pre_norm: bool = False,
    ) -> None:
        super().__init__()
        if position not in get_args(Position):
            raise ConfigError(f"position '{position}' is unknown: use 'absolute' or 'relative'")
        self.patch, self.heads, self.pre_norm, self.dropout = patch, heads, pre_norm, dropout
        self.absolute = position == "absolute"
        if self.absolute:
            self.row_embedding = nn.Parameter(torch.zeros(patch, 1, width // 2))
            self.column_embedding = nn.Parameter(torch.zeros(1, patch, width // 2))
        else:
            self.offset_bias = nn.Parameter(torch.zeros((2 * patch - 1) ** 2, heads))
            self.register_buffer("offsets", _pair_offsets(patch), persistent=False)
        self.norm_attention = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.norm_mlp = nn.LayerNorm(width)
        self.expand = nn.Linear(width, hidden)
        self.contract = nn.Linear(hidden, width)

    def forward(self, features: Tensor) -> Tensor:
        """[B, C, H, W] to the same shape; no value of one patch reaches another."""
        batch, width, height, breadth = features.shape
        side = self.patch
        split = features.reshape(batch, width, height // side, side, breadth // side, side)
        tokens = split.permute(0, 2, 4, 3, 5, 1).reshape(-1, side * side, width)
        if self.absolute:
            shape = (side, side, width // 2)
            place = torch.cat([self.row_embedding.expand(shape), self.column_embedding.expand(shape)], dim=-1)
            tokens = tokens + place.reshape(side * side, width)
        if self.pre_norm:
            tokens = tokens + self._attention(self.norm_attention(tokens))
            tokens = tokens + self._mlp(self.norm_mlp(tokens))
        else:
            tokens = self.norm_attention(tokens + self._attention(tokens))
            tokens = self.norm_mlp(tokens + self._mlp(tokens))
        joined = tokens.reshape(batch, height // side, breadth // side, side, side, width)
        return joined.permute(0, 5, 1, 3, 2, 4).reshape(batch, width, height, breadth)

    def _attention(self, tokens: Tensor) -> Tensor:
        sequences, length, width = tokens.shape
        packed = self.query_key_value(tokens).reshape(sequences, length, 3, self.heads, width // self.heads)
        query, key, value = packed.permute(2, 0, 3, 1, 4).unbind(0)
        bias = None if self.absolute else self.offset_bias[self.offsets].permute(2, 0, 1)[None]
        attended = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=bias, dropout_p=self.dropout if self.training else 0.0
        )
        return self._drop(self.project(attended.transpose(1, 2).reshape(sequences, length, width)))

    def _mlp(self, tokens: Tensor) -> Tensor:
        return self._drop(self.contract(self._drop(functional.gelu(self.expand(tokens)))))

    def _drop(self, values: Tensor) -> Tensor:
        return functional.dropout(values, self.dropout, self.training)


class ConTBlock(nn.Module):
    """Batch norm and ReLU, two patch encoders, a convolution, and a shortcut around all of it.

    A block that widens takes its shortcut from behind the ReLU through a 1x1 convolution; any other adds its input.

    Args:
        width: channels that enter.
        out_width: channels that leave.
        stride: 2 halves the map.
        patches: sides of the two encoders' patches.
        hidden, heads, dropout, position, pre_norm: see :class:`PatchEncoder`.
        pooled_shortcut: where the map is halved, average 2x2 cells before the shortcut's convolution, in place of
            taking every other cell.
    """

    def __init__(
        self,
        width: int,
        out_width: int,
        stride: int,
        patches: tuple[int, int],
        hidden: int,
        heads: int,
        dropout: float,
        position: Position,
        pre_norm: bool,
        pooled_shortcut: bool,
    ) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(width)
        self.encoders = nn.Sequential(
            *(PatchEncoder(width, hidden, heads, patch, dropout, position, pre_norm) for patch in patches)
        )
        widens = out_width != width
        # The last stage keeps its size, and there alone the widening convolution has no neighbourhood.
        kernel = 1 if widens and stride == 1 else 3
        self.mix = nn.Conv2d(width, out_width, kernel, stride, padding=kernel // 2, bias=False)
        pooled = pooled_shortcut and stride == 2
        self.pool = nn.AvgPool2d(2) if pooled else nn.Identity()
        self.shortcut = nn.Conv2d(width, out_width, 1, 1 if pooled else stride, bias=False) if widens else None
        self.drop = nn.Dropout(LAST_DROPOUT if kernel == 1 else 0.0)

    def forward(self, features: Tensor) -> Tensor:
        """[B, width, H, W] to [B, out_width, H / stride, W / stride]."""
        activated = functional.relu(self.norm(features))
        around = features if self.shortcut is None else self.shortcut(self.pool(activated))
        return self.drop(self.mix(self.encoders(activated)) + around)


class ConTNet(nn.Module):
    """ConTNet-B, randomly initialised; :mod:`vitad_med.networks.contnet_weights` reads checkpoints.

    Args:
        classes: of the classifier; 0 leaves it out. With 1000 there are 36.04 M parameters.
        position, pre_norm: see :class:`PatchEncoder`; the authors' defaults.
        pooled_shortcut: see :class:`ConTBlock`.
    """

    def __init__(
        self,
        classes: int = 0,
        position: Position = "absolute",
        pre_norm: bool = False,
        pooled_shortcut: bool = False,
    ) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, WIDTHS[0], 7, 2, padding=3, bias=False)
        self.stages = nn.ModuleList()
        for number, (width, count) in enumerate(zip(WIDTHS, BLOCKS, strict=True)):
            last_stride = 1 if number == len(WIDTHS) - 1 else 2
            rest = (
                *(PATCHES[number], HIDDEN[number], HEADS[number], DROPOUT[number]),
                *(position, pre_norm, pooled_shortcut),
            )
            blocks = [ConTBlock(width, width, 1, *rest) for _ in range(count - 1)]
            self.stages.append(nn.Sequential(*blocks, ConTBlock(width, 2 * width, last_stride, *rest)))
        self.classifier = nn.Linear(2 * WIDTHS[-1], classes) if classes else None

    def features(self, images: Tensor) -> StageFeatures:
        """Feature maps of normalised images [B, 3, H, W].

        Raises:
            ConfigError: a side is no multiple of 224.
        """
        if not torch.jit.is_tracing() and not torch.compiler.is_compiling():
            for side in images.shape[-2:]:
                check_contnet_size(int(side))
        features = functional.max_pool2d(self.stem(images), 3, 2, padding=1)
        entering, leaving = [], []
        for stage in self.stages:
            *blocks, last = stage.children()
            for block in blocks:
                features = block(features)
            entering.append(features)
            features = last(features)
            leaving.append(features)
        return StageFeatures(tuple(entering), tuple(leaving))

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, classes] of normalised images [B, 3, H, W], or pooled features [B, 1024] without classifier."""
        pooled = self.features(images).output[-1].mean(dim=(2, 3))
        return pooled if self.classifier is None else self.classifier(pooled)


def check_contnet_size(image_size: int, key: str = "image_size") -> None:
    """Raise ConfigError, naming the config's key, unless ConTNet's patches tile a square image of this size."""
    if image_size < MULTIPLE or image_size % MULTIPLE:
        nearest = max(1, round(image_size / MULTIPLE)) * MULTIPLE
        raise ConfigError(
            f"{key} {image_size} is no multiple of {MULTIPLE}, and ConTNet's patches of 14 cells at stride 16 would "
            f"not tile the image: use {nearest}"
        )


def _pair_offsets(patch: int) -> Tensor:
    """Number of the offset between each query's cell and each key's, int64 [N, N]; row offset first."""
    rows, columns = torch.meshgrid(torch.arange(patch), torch.arange(patch), indexing="ij")
    rows, columns = rows.flatten(), columns.flatten()
    down = rows[:, None] - rows[None, :] + patch - 1
    right = columns[:, None] - columns[None, :] + patch - 1
    return down * (2 * patch - 1) + right
