"""Where an encoder's starting weights come from, and how they are read safely.

``weights`` is one of: ``embedded`` (the ViT-Ti/16 that this project pre-trained, shipped in the package), ``none``, a
path to a ``.safetensors`` or ``.pth`` file in timm or official DINO naming, or a timm name with a tag
(``vit_small_patch16_224.dino``), which timm downloads once and caches. A ``.pth`` file is taken to expect ImageNet's
mean and standard deviation, as DINO's do; a ``.safetensors`` file names its own in its metadata.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, TypeAlias

import timm
from safetensors import SafetensorError, safe_open
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.layers import resample_abs_pos_embed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from vitad_med.checkpoint import load_checkpoint
from vitad_med.errors import WeightsError
from vitad_med.networks.vit import create_vit

EMBEDDED = "vit_tiny_patch16_224.dino_nih_normals.safetensors"
GREY_STATISTICS = ((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
# Names under which published checkpoints nest the encoder.
_CONTAINERS = ("teacher", "student", "state_dict", "model")
_PREFIXES = ("module.", "backbone.", "encoder.")
# Mean and standard deviation per channel of 0..1 intensities.
Statistics: TypeAlias = tuple[tuple[float, ...], tuple[float, ...]]
_NOT_ENCODER = ("head.", "fc_norm.", "last_layer.", "prototypes", "trunk.")


def build_encoder(
    architecture: str = "vit_tiny_patch16_224",
    weights: str = "embedded",
    image_size: int = 224,
    drop_path_rate: float = 0.0,
) -> tuple[VisionTransformer, Statistics]:
    """An encoder with its starting weights.

    Args:
        architecture: timm name.
        weights: see the module's docstring.
        image_size: side in pixels of the position-embedding grid; stored grids of another size are resampled.
        drop_path_rate: stochastic depth.

    Returns:
        the encoder, and the (mean, std) per channel on 0..1 intensities that its weights expect.

    Raises:
        WeightsError: weights that cannot be found, fetched, read, or that belong to another architecture.
        ConfigError: see :func:`vitad_med.networks.vit.create_vit`.
    """
    vit = create_vit(architecture, image_size, drop_path_rate)
    if weights == "none":
        return vit, GREY_STATISTICS
    if weights == "embedded":
        with resources.as_file(resources.files("vitad_med") / "weights" / EMBEDDED) as path:
            state, statistics = read_weights(path)
    elif Path(weights).suffix in {".safetensors", ".pth", ".pt"}:
        state, statistics = read_weights(Path(weights))
    else:
        state, statistics = timm_weights(weights)
    _load(vit, state, architecture, weights)
    return vit, statistics or imagenet_statistics(architecture)


def imagenet_statistics(architecture: str) -> Statistics:
    """Mean and std that timm declares for an architecture's published weights."""
    config = timm.get_pretrained_cfg(architecture)
    return (tuple(config.mean), tuple(config.std)) if config is not None else GREY_STATISTICS


def read_weights(path: Path) -> tuple[dict[str, Tensor], Statistics | None]:
    """Tensors of a local file without wrappers and their prefixes, and the input statistics that it names or implies.

    Raises:
        WeightsError: missing, unreadable, or without tensors.
    """
    if not path.is_file():
        raise WeightsError(
            f"weights file '{path}' does not exist: give a .safetensors or .pth file, a timm name, 'embedded' or 'none'"
        )
    if path.suffix == ".safetensors":
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        except SafetensorError as error:
            raise WeightsError(f"weights file '{path}' is no readable safetensors file: {error}") from error
        mean, std = metadata.get("mean"), metadata.get("std")
        return state, (tuple(json.loads(mean)), tuple(json.loads(std))) if mean and std else None
    # Published .pth files of ViTs are DINO's, trained on ImageNet's own statistics.
    return _unwrap(load_checkpoint(path)), (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)


def _unwrap(checkpoint: Any) -> dict[str, Tensor]:
    """Find the encoder's tensors inside a published checkpoint and strip wrapper prefixes."""
    while isinstance(checkpoint, Mapping):
        inner = next((checkpoint[name] for name in _CONTAINERS if isinstance(checkpoint.get(name), Mapping)), None)
        if inner is None:
            break
        checkpoint = inner
    if not isinstance(checkpoint, Mapping):
        raise WeightsError("the checkpoint holds no state dict")
    state = {}
    for name, value in checkpoint.items():
        if not isinstance(value, Tensor):
            continue
        stripped = True
        while stripped:
            stripped = False
            for prefix in _PREFIXES:
                if name.startswith(prefix):
                    name, stripped = name[len(prefix) :], True
        state[name] = value
    return state


def timm_weights(name: str) -> tuple[dict[str, Tensor], Statistics]:
    """Tensors without classifier that timm publishes under a name with a tag, and their input statistics.

    Raises:
        WeightsError: timm publishes nothing under it, or it is not cached and cannot be fetched.
    """
    if not timm.is_model(name.split(".")[0]):
        raise WeightsError(
            f"weights '{name}' is neither 'embedded', 'none', an existing .safetensors/.pth file, nor a timm name"
        )
    try:
        published = timm.get_pretrained_cfg(name)
    except RuntimeError:  # timm knows the architecture but not the tag
        published = None
    if published is None or not published.has_weights:
        tags = timm.list_pretrained(name.split(".")[0] + ".*")
        raise WeightsError(f"timm publishes no weights under '{name}'; it does for: {', '.join(tags) or 'none'}")
    try:
        model = timm.create_model(name, pretrained=True, num_classes=0)
    except Exception as error:  # hub, cache and network errors have no common base class
        embedded = ", 'embedded'" if name.split(".")[0] == EMBEDDED.split(".")[0] else ""
        raise WeightsError(
            f"weights '{name}' could not be fetched by timm and are not in its cache: on a machine with a network run "
            f"`python -c \"import timm; timm.create_model('{name}', pretrained=True)\"` and copy the cache, or pass a "
            f"local .safetensors file{embedded} or 'none'"
        ) from error
    return model.state_dict(), (tuple(published.mean), tuple(published.std))


def _load(vit: VisionTransformer, state: dict[str, Tensor], architecture: str, weights: str) -> None:
    state = {name: value for name, value in state.items() if not name.startswith(_NOT_ENCODER)}
    own: dict[str, Tensor] = dict(vit.state_dict())
    grid = state.get("pos_embed")
    wanted = own["pos_embed"].shape
    patch_grid: tuple[int, int] = vit.patch_embed.grid_size
    if grid is not None and grid.ndim == 3 and grid.shape[1] != wanted[1] and grid.shape[2] == wanted[2]:
        state["pos_embed"] = resample_abs_pos_embed(
            grid.float(),
            new_size=list(patch_grid),
            num_prefix_tokens=0 if vit.no_embed_class else vit.num_prefix_tokens,
        )
    check_fit(own, state, architecture, weights)
    vit.load_state_dict(state)


def check_fit(
    own: Mapping[str, Tensor],
    state: Mapping[str, Tensor],
    architecture: str,
    weights: str,
    key: str = "architecture",
) -> None:
    """Raise WeightsError, naming a tensor and the config's key, unless names and shapes are those of a network."""
    wrong = [n for n in own if n in state and own[n].shape != state[n].shape]
    missing = [n for n in own if n not in state]
    extra = [n for n in state if n not in own]
    if wrong or missing or extra:
        example = (wrong or missing or extra)[0]
        kind = "has another shape" if wrong else "is missing" if missing else "is unknown"
        raise WeightsError(
            f"weights '{weights}' do not belong to {key} '{architecture}': '{example}' {kind} "
            f"({len(wrong)} wrong shapes, {len(missing)} missing, {len(extra)} unknown); set `{key}` to theirs"
        )
