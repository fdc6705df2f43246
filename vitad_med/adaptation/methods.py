"""What a method of adaptation minimises on a batch; all of them change the same parameters with the same optimizer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor

from vitad_med.adaptation.statistics import SourceStatistics
from vitad_med.errors import ConfigError
from vitad_med.networks.proxy import ProxyNetwork
from vitad_med.objectives.alignment import AlignmentLoss, Moment
from vitad_med.objectives.proxy import ProxyLoss, Views
from vitad_med.objectives.test_time import prediction_entropy, pseudo_label_loss
from vitad_med.outputs import ProxyOutput

MethodName = Literal["alignment", "tent", "pseudo_label", "continued", "none"]
SourceViews = Callable[[int], list[Views]]


class Method(Protocol):
    """A loss on a batch of unlabelled test images."""

    name: str

    def loss(self, network: ProxyNetwork, images: Tensor, step: int) -> tuple[Tensor, ProxyOutput | None]:
        """Loss of images [B, C, H, W] in 0..1 at an update's number; and the outputs of the same images, if made."""
        ...


class Alignment:
    """Attention-entropy alignment (Eq. 9-12, BMVC 2022); the classes are those that the network predicts now."""

    name = "alignment"

    def __init__(self, statistics: SourceStatistics, moment: Moment, device: torch.device | str) -> None:
        self.renormalise = statistics.renormalise_rows
        self.criterion = AlignmentLoss(statistics.mean.float(), statistics.second_moment(moment).float(), moment).to(
            device
        )

    def loss(self, network: ProxyNetwork, images: Tensor, step: int) -> tuple[Tensor, ProxyOutput | None]:
        output, entropy = network.adaptation_outputs(images, self.renormalise)
        return self.criterion(entropy, output.logits.detach().argmax(dim=1)), output


class Tent:
    """Entropy of the predictions (TENT).

    The authors' code collects the affine parameters of BatchNorm2d, of which a vision transformer has none; here
    LayerNorm takes their place.
    """

    name = "tent"

    def loss(self, network: ProxyNetwork, images: Tensor, step: int) -> tuple[Tensor, ProxyOutput | None]:
        output = network.train_outputs(images)
        return prediction_entropy(output.logits), output


class PseudoLabel:
    """Cross-entropy with the network's own predictions."""

    name = "pseudo_label"

    def loss(self, network: ProxyNetwork, images: Tensor, step: int) -> tuple[Tensor, ProxyOutput | None]:
        output = network.train_outputs(images)
        return pseudo_label_loss(output.logits), output


class Continued:
    """The control: as many updates of the same parameters, but on training normals and their synthetic copies.

    What adaptation gains beyond it is due to the test images; what both gain is due to more training.

    Args:
        source: views of the proxy task at an update's number.
        criterion: the proxy loss.
    """

    name = "continued"

    def __init__(self, source: SourceViews, criterion: ProxyLoss) -> None:
        self.source = source
        self.criterion = criterion

    def loss(self, network: ProxyNetwork, images: Tensor, step: int) -> tuple[Tensor, ProxyOutput | None]:
        views = self.source(step)
        totals = self.criterion.totals(views)
        terms = [self.criterion(network.train_outputs(part.images), part, totals).loss for part in views]
        return torch.stack(terms).sum(), None


def create_method(
    name: str,
    *,
    statistics: SourceStatistics | None = None,
    moment: Moment = "unbiased",
    source: SourceViews | None = None,
    criterion: ProxyLoss | None = None,
    device: torch.device | str = "cpu",
) -> Method | None:
    """The method of a name; None for ``none``.

    Raises:
        ConfigError: an unknown name, or one whose needs are not given.
    """
    if name == "alignment":
        if statistics is None:
            raise ConfigError("method 'alignment' needs the key statistics: make them with `vitad-med stats`")
        return Alignment(statistics, moment, device)
    if name == "continued":
        if source is None or criterion is None:
            raise ConfigError("method 'continued' needs training images: give source_dataset_dir")
        return Continued(source, criterion)
    if name == "tent":
        return Tent()
    if name == "pseudo_label":
        return PseudoLabel()
    if name == "none":
        return None
    raise ConfigError(f"method '{name}' is unknown: use {', '.join(repr(known) for known in get_args(MethodName))}")
