"""ConTNet-B checkpoints in their authors' naming.

No package carries trained weights of ConTNet: whoever has a checkpoint gives the file. How it was trained shows in its
tensors, except whether the norms come before or after each layer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import Tensor

from vitad_med.errors import WeightsError
from vitad_med.networks.contnet import BLOCKS, ConTNet, Position
from vitad_med.networks.weights import Statistics, read_weights

RANDOM = "random"
# Inside a block: the authors' name and ours. `#` is the number of the encoder, 1 or 2 there and 0 or 1 here.
_IN_BLOCK = {
    "bn": "norm",
    "out_conv.conv": "mix",
    "downsample.conv": "shortcut",
    "downsample.conv.conv": "shortcut",
    "ste#.pe.0": "encoders.#.row_embedding",
    "ste#.pe.1": "encoders.#.column_embedding",
    "ste#.attn.relative_position_bias_table": "encoders.#.offset_bias",
    "ste#.attn.qkv": "encoders.#.query_key_value",
    "ste#.attn.proj": "encoders.#.project",
    "ste#.norm1": "encoders.#.norm_attention",
    "ste#.norm2": "encoders.#.norm_mlp",
    "ste#.mlp.fc1": "encoders.#.expand",
    "ste#.mlp.fc2": "encoders.#.contract",
}
_LEAVES = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
_DERIVED = ".relative_position_index"  # follows from the patch size


def build_contnet(weights: str | None = None, pre_norm: bool = False) -> tuple[ConTNet, Statistics]:
    """ConTNet-B without classifier, in evaluation mode.

    Args:
        weights: a ``.pth``, ``.pt`` or ``.safetensors`` file in the authors' naming, or ``random``, which has to be
            asked for because features of an untrained network mean little.
        pre_norm: how the checkpoint was trained; the authors' default is False.

    Returns:
        the network, and the (mean, std) per channel on 0..1 intensities that it expects: the file's own, else
        ImageNet's.

    Raises:
        WeightsError: no weights are named, or the file is missing, unreadable or of another network.
    """
    imagenet = (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
    if weights == RANDOM:
        return ConTNet(pre_norm=pre_norm).eval(), imagenet
    if weights is None or Path(weights).suffix not in {".pth", ".pt", ".safetensors"}:
        raise WeightsError(
            f"weights {weights!r} of ConTNet-B: no package carries trained ones, give a checkpoint file in the "
            f"authors' naming (.pth or .safetensors), or '{RANDOM}' for an untrained network"
        )
    state, statistics = read_weights(Path(weights))
    network = contnet_from_state(state, weights, pre_norm)
    return network.eval(), statistics or imagenet


def contnet_from_state(state: Mapping[str, Tensor], name: str, pre_norm: bool = False) -> ConTNet:
    """A network with the tensors of a checkpoint, and the variant of the architecture that they show.

    Args:
        state: tensors by the authors' names.
        name: of the checkpoint, for messages.
        pre_norm: see :func:`build_contnet`.

    Raises:
        WeightsError: tensors are unknown, missing or of another shape; names them in the checkpoint's naming.
    """
    known = {theirs: own_name(theirs) for theirs in state if not theirs.startswith("fc.")}
    known = {theirs: ours for theirs, ours in known.items() if not theirs.endswith(_DERIVED)}
    position: Position = "relative" if any("relative_position" in theirs for theirs in state) else "absolute"
    pooled = any(theirs.endswith("downsample.conv.conv.weight") for theirs in state)
    with torch.device("meta"):  # names and shapes alone, before memory is filled
        own = ConTNet(position=position, pre_norm=pre_norm, pooled_shortcut=pooled).state_dict()
    unknown = [theirs for theirs, ours in known.items() if ours not in own]
    wrong = [t for t, ours in known.items() if ours in own and own[ours].shape != _shaped(state[t], own[ours]).shape]
    found = set(known.values())
    missing = [authors_name(ours, pooled) for ours in own if ours not in found]
    for kind, names in (("unknown", unknown), ("of another shape", wrong), ("missing", missing)):
        if names:
            rest = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise WeightsError(
                f"weights '{name}' are not of ConTNet-B: '{names[0]}'{rest} {kind}; give a checkpoint of ConT-B that "
                "the authors' code wrote"
            )
    network = ConTNet(position=position, pre_norm=pre_norm, pooled_shortcut=pooled)
    network.load_state_dict({ours: _shaped(state[theirs], own[ours]) for theirs, ours in known.items() if ours})
    return network


def own_name(theirs: str) -> str | None:
    """Our name of a tensor in the authors' naming; None where there is none."""
    if theirs == "layer0.conv.conv.weight":
        return "stem.weight"
    found = re.fullmatch(r"layer([1-4])\.ConTBlock(\d+)\.(.+)", theirs)
    if found is None:
        return None
    inside, encoder = _numbered(found[3], r"ste([12])\.", "ste#.", -1)
    module, leaf = _split(inside)
    ours = _IN_BLOCK.get(module)
    if ours is None:
        return None
    return f"stages.{int(found[1]) - 1}.{found[2]}.{ours.replace('#', encoder)}{leaf}"


def authors_name(ours: str, pooled_shortcut: bool = False) -> str:
    """The authors' name of one of our tensors."""
    if ours == "stem.weight":
        return "layer0.conv.conv.weight"
    _, stage, block, inside = ours.split(".", maxsplit=3)
    inside, encoder = _numbered(inside, r"encoders\.([01])\.", "encoders.#.", 1)
    module, leaf = _split(inside)
    candidates = [name for name, own in _IN_BLOCK.items() if own == module]
    # A shortcut that pools has its convolution one level deeper; the last stage's never pools.
    theirs = candidates[-1 if pooled_shortcut and int(stage) < len(BLOCKS) - 1 else 0]
    return f"layer{int(stage) + 1}.ConTBlock{block}.{theirs.replace('#', encoder)}{leaf}"


def _numbered(inside: str, pattern: str, blank: str, shift: int) -> tuple[str, str]:
    """A name with ``#`` for the encoder's number, and the number in the other naming."""
    found = re.match(pattern, inside)
    return (blank + inside[found.end() :], str(int(found[1]) + shift)) if found else (inside, "")


def _split(inside: str) -> tuple[str, str]:
    """Module and leaf with its dot; parameters that lie in a module of their own have no leaf."""
    module, _, leaf = inside.rpartition(".")
    return (module, f".{leaf}") if leaf in _LEAVES else (inside, "")


def _shaped(theirs: Tensor, ours: Tensor) -> Tensor:
    """Position embeddings have a leading 1 there."""
    return theirs[0] if theirs.ndim == ours.ndim + 1 and len(theirs) == 1 else theirs
