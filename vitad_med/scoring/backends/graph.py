"""A bundle's network and inferer as one graph from images to (map, score), and that graph as ONNX.

Three things are put differently than in torch, each equal to it but for rounding:

- Instance normalisation takes its means as matrix products, rows first. Runtimes add up a whole channel in one go;
  where it is nearly constant, as in black borders, the rounding of that sum is divided by a small standard deviation.
- A Gaussian's triangular solve, which ONNX lacks, is one product with the whole inverse factor.
- Antialiased resizing, which is linear along each axis, is a matrix product for each.
"""

from __future__ import annotations

import copy
import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from vitad_med.data.image_io import resize
from vitad_med.engines.inference import AnomalyInferer
from vitad_med.engines.multiscale import MultiScaleInferer
from vitad_med.errors import ConfigError
from vitad_med.networks.positions import PositionCache
from vitad_med.networks.proxy import ProxyNetwork
from vitad_med.networks.vit import patch_size
from vitad_med.normality.detector import NormalityDetector
from vitad_med.normality.gaussian import PositionGaussian, invert_lower
from vitad_med.outputs import AnomalyOutput
from vitad_med.scoring.backends.runtimes import INPUT, MAP, SCORE, missing
from vitad_med.scoring.bundle import ScoringBundle

LARGEST = 2**31
"""Bytes that one ONNX file may have."""


class ScoringGraph(nn.Module):
    """What is exported: (map [B, 1, h, w], score [B]) of images [B, C, S, S] in 0..1, in float32 on the CPU.

    Args:
        bundle: whose network is copied.

    Raises:
        ConfigError: an inferer or a model of normality that has no graph.
    """

    def __init__(self, bundle: ScoringBundle) -> None:
        super().__init__()
        self.network: Any = copy.deepcopy(bundle.network).cpu().eval()
        for parent in list(self.network.modules()):
            for name, child in parent.named_children():
                if isinstance(child, nn.InstanceNorm2d):
                    parent.add_module(name, ExactInstanceNorm(child))
        if isinstance(self.network, NormalityDetector):
            self.network.add_module("model", _graph_model(self.network))
        self.inferer = _graph_inferer(bundle, self.network)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map and score."""
        output = self.inferer(images, self.network)
        return output.map, output.score


class ExactInstanceNorm(nn.Module):
    """Instance normalisation whose means are taken by :func:`_mean`.

    Args:
        norm: the module that it takes the place of.
    """

    weight: Tensor | None
    bias: Tensor | None

    def __init__(self, norm: nn.InstanceNorm2d) -> None:
        super().__init__()
        self.eps = norm.eps
        for name in ("weight", "bias"):
            value = getattr(norm, name)
            self.register_buffer(name, None if value is None else value.detach().view(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W], normalised by image and channel; a single position as it is."""
        if x.shape[-2:].numel() == 1:
            return x
        centred = x - _mean(x)
        scale = (_mean(centred.square()) + self.eps).rsqrt()
        scaled = centred * (scale if self.weight is None else scale * self.weight)
        return scaled if self.bias is None else scaled + self.bias


def _mean(x: Tensor) -> Tensor:
    """Mean over rows and columns, as products with vectors of ones."""
    height, width = x.shape[-2:]
    return x.new_full((1, height), 1 / height) @ (x @ x.new_full((width, 1), 1 / width))


class WhitenedGaussian(nn.Module):
    """Mahalanobis distances by the inverse Cholesky factors, in place of triangular solves.

    Args:
        model: fitted; its factors are inverted in float64.

    Raises:
        ConfigError: the inverse factors are larger than an ONNX file may be.
    """

    mean: Tensor
    inverse: Tensor

    def __init__(self, model: PositionGaussian) -> None:
        super().__init__()
        positions, channels = model.mean.shape
        if 4 * positions * channels**2 > LARGEST // 2:
            raise ConfigError(
                f"a Gaussian of {channels} channels at {positions} positions is too large for one ONNX file: score "
                "with --backend torch, or fit with fewer channels_kept or a smaller grid."
            )
        self.grid, self.scale = model.grid, model.scale
        inverse = invert_lower(model.factor.dense(slice(None)).double().cpu())
        self.register_buffer("mean", model.mean.float()[:, None])
        self.register_buffer("inverse", inverse.mT.float().contiguous())

    def forward(self, features: Tensor) -> Tensor:
        """Distances [B, 1, h, w] of features [B, D, h, w]."""
        whitened = torch.bmm(features.flatten(2).permute(2, 0, 1) - self.mean, self.inverse)
        return whitened.square().sum(dim=2).sqrt().T.reshape(features.shape[0], 1, *self.grid)


class GraphMultiScale(MultiScaleInferer):
    """The same sizes and averages, with resizing and position embeddings as constants, and the batch in one part.

    Args:
        inferer: that it takes the place of.
        network: whose position embeddings are resampled.
        side: of the images, in pixels.
    """

    def __init__(self, inferer: MultiScaleInferer, network: ProxyNetwork, side: int) -> None:
        super().__init__(inferer.sizes, inferer.map_average, inferer.image_score)
        self._positions = _FixedPositions(network, inferer.sizes)
        self._resizing = {size: resize(torch.eye(side), (size, side)) for size in inferer.sizes}
        self._side = side

    def _at(self, size: int, inputs: Tensor, network: ProxyNetwork) -> tuple[Tensor, Tensor]:
        side = size // patch_size(network.encoder)
        matrix = self._resizing[size]
        resized = inputs if size == self._side else matrix @ inputs @ matrix.mT
        with self._positions.on_grid(network.encoder, (side, side)):
            output = network.train_outputs(resized)
        probability, amap = self._finish(output, (self._side, self._side))
        return probability.float(), amap.float()


class _FixedPositions(PositionCache):
    """Position embeddings of a list of sizes, resampled beforehand."""

    def __init__(self, network: ProxyNetwork, sizes: tuple[int, ...]) -> None:
        super().__init__()
        for size in sizes:
            side = size // patch_size(network.encoder)
            with super().on_grid(network.encoder, (side, side)):
                pass

    def _resampled(
        self, vit: VisionTransformer, own: Tensor, own_grid: tuple[int, int], grid: tuple[int, int]
    ) -> nn.Parameter:
        # Looking whether the embeddings changed would be a branch of the graph on their values.
        return self._grids[grid] if grid in self._grids else super()._resampled(vit, own, own_grid, grid)


def _graph_inferer(bundle: ScoringBundle, network: nn.Module) -> AnomalyInferer | GraphMultiScale:
    if isinstance(bundle.inferer, MultiScaleInferer):
        assert isinstance(network, ProxyNetwork)
        return GraphMultiScale(bundle.inferer, network, bundle.image_size)
    if isinstance(bundle.inferer, AnomalyInferer):
        return AnomalyInferer()
    raise ConfigError(
        f"the inferer {type(bundle.inferer).__name__} of bundle '{bundle.name}' cannot be exported: score with "
        "--backend torch."
    )


def _graph_model(network: NormalityDetector) -> nn.Module:
    if isinstance(network.model, PositionGaussian):
        return WhitenedGaussian(network.model)
    raise ConfigError(
        f"a model of normality of kind '{network.model.kind}' cannot be exported, only 'gaussian': score with "
        "--backend torch."
    )


def reference(bundle: ScoringBundle, images: Tensor) -> AnomalyOutput:
    """What the bundle's inferer and network say in float32, on the bundle's device, image by image."""
    inferer = copy.copy(bundle.inferer)
    inferer.amp = False  # type: ignore[attr-defined]
    outputs = [inferer(image[None].to(bundle.device), bundle.network) for image in images]
    return AnomalyOutput(
        torch.cat([output.score.cpu() for output in outputs]), torch.cat([output.map.cpu() for output in outputs])
    )


def onnx_bytes(graph: ScoringGraph, channels: int, side: int) -> bytes:
    """The graph as one ONNX file with its weights and a dynamic batch; the same bytes for the same graph.

    Raises:
        ConfigError: the exporter's packages are missing, or it does not know an operation.
    """
    try:
        import onnx  # noqa: F401  # torch's exporter needs both
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise missing("onnx") from error
    example = torch.linspace(0, 1, 2 * channels * side * side).reshape(2, channels, side, side)
    with _quiet():
        try:
            with torch.no_grad():
                graph(example)  # constants that are made at the first call are made now
                traced = torch.export.export(
                    graph, (example,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},), strict=False
                )
            program = torch.onnx.export(
                traced, dynamo=True, input_names=[INPUT], output_names=[MAP, SCORE], verbose=False
            )
        except Exception as error:  # torch's exporters raise many kinds; the network is the user's choice
            lines = str(error).strip().splitlines()
            raise ConfigError(
                f"torch cannot export this network ({lines[0][:160] if lines else type(error).__name__}): score with "
                "--backend torch."
            ) from error
    assert program is not None
    model = program.model_proto
    if model.ByteSize() >= LARGEST:
        raise ConfigError("the network is larger than one ONNX file may be, 2 GiB: score with --backend torch.")
    _plain(model)
    return bytes(model.SerializeToString(deterministic=True))


def _plain(model: Any) -> None:
    """Take out what differs between machines and runs: paths of source files, and the name of the batch's size."""
    graph = model.graph
    tensors = (*graph.input, *graph.output, *graph.value_info)
    for part in (model, graph, *graph.node, *graph.initializer, *tensors, *model.functions):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    name = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for tensor in tensors:
        for size in tensor.type.tensor_type.shape.dim:
            if size.dim_param:
                size.dim_param = size.dim_param.replace(name, "batch")


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter's progress and its warnings about its own internals."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
