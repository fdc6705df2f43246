"""What the pre-training config calls: one objective by name, with the views, masks and prototypes of its paper."""

from __future__ import annotations

import csv
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch.distributed as dist
from ignite.engine import Engine, Events
from torch.utils.data import DataLoader

from vitad_med.augmentation.intensity import Augment
from vitad_med.augmentation.masking import Kind, Masking
from vitad_med.augmentation.multicrop import MultiCrop
from vitad_med.augmentation.views import PairedViews, SaliencySource, SharedViews, ViewMaker
from vitad_med.checkpoint import atomic_path
from vitad_med.engines.distillation import Objective, check_batch_size, check_views
from vitad_med.engines.distributed import is_first
from vitad_med.engines.setup import save_encoder
from vitad_med.errors import ConfigError, DataError
from vitad_med.networks.distillation import DistillationNetwork
from vitad_med.networks.vit import patch_size
from vitad_med.objectives.apmask import APMaskLoss
from vitad_med.objectives.dino import DINOLoss
from vitad_med.objectives.ibot import IBOTLoss
from vitad_med.objectives.msn import MSNLoss

SCHEMA = "vitad_med/pretraining/1"
ENCODER, SUMMARY = "encoder.safetensors", "pretraining.json"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Method:
    """What goes with an objective in the paper that proposed it.

    Attributes:
        masking: which patches the student does not see.
        masks_local: whether local views are masked too.
        paired: teacher and student see two augmentations of an image; else they share global views.
        hides: masked patches are replaced by a token, not dropped.
        shared_prototypes: one set of prototypes serves both networks.
        global_views: large views of the student.
    """

    masking: Kind
    masks_local: bool
    paired: bool
    hides: bool
    shared_prototypes: bool
    global_views: int


METHODS = {
    "apmask": Method("attention", True, paired=True, hides=False, shared_prototypes=True, global_views=1),
    "msn": Method("random", False, paired=True, hides=False, shared_prototypes=True, global_views=1),
    "dino": Method("none", True, paired=False, hides=False, shared_prototypes=False, global_views=2),
    "ibot": Method("random", False, paired=False, hides=True, shared_prototypes=False, global_views=2),
}


def method(objective: str) -> Method:
    """The settings that go with an objective.

    Raises:
        ConfigError: there is none of that name.
    """
    if objective not in METHODS:
        raise ConfigError(f"objective '{objective}' is unknown: use one of {', '.join(METHODS)}")
    return METHODS[objective]


def create_objective(
    objective: str,
    prototypes: int,
    temperature: float = 0.1,
    epsilon: float = 0.02,
    sinkhorn_iterations: int = 3,
    queue: int = 0,
    centering: Literal["sinkhorn", "mean", "none"] = "sinkhorn",
    mean_entropy_weight: float = 1.0,
) -> Objective:
    """The loss of an objective.

    Args:
        objective: ``apmask``, ``dino``, ``msn`` or ``ibot``.
        prototypes: K.
        temperature: of the student.
        epsilon: of Sinkhorn-Knopp; ``msn`` has a quarter of the temperature instead.
        sinkhorn_iterations: of Sinkhorn-Knopp in ``apmask`` and ``msn``.
        queue: of ``apmask``.
        centering: how targets are kept from falling on one prototype: ``sinkhorn``; ``mean``, the moving average of
            ``dino`` and ``ibot``; ``none``, the printed equations of ``msn``.
        mean_entropy_weight: of ``msn``.

    Raises:
        ConfigError: names the key that is wrong or does not apply to the objective.
    """
    method(objective)
    if queue and objective != "apmask":
        raise ConfigError(f"queue {queue} does not apply to objective '{objective}': leave it at 0")
    if objective == "apmask":
        if centering != "sinkhorn":
            raise ConfigError(f"centering '{centering}' does not apply to objective 'apmask': leave it at 'sinkhorn'")
        return APMaskLoss(prototypes, temperature, epsilon, sinkhorn_iterations, queue)
    if objective == "msn":
        if centering == "mean":
            raise ConfigError("centering 'mean' does not apply to objective 'msn': use 'sinkhorn' or 'none'")
        return MSNLoss(temperature, temperature / 4, mean_entropy_weight, centering, sinkhorn_iterations)
    if centering == "none":
        raise ConfigError(f"centering 'none' does not apply to objective '{objective}': use 'sinkhorn' or 'mean'")
    # Sinkhorn-Knopp sharpens by epsilon; DINO's rising temperature belongs to the centre that it subtracts.
    rise = {"teacher_temperature": epsilon, "warmup_temperature": epsilon} if centering == "sinkhorn" else {}
    loss = DINOLoss if objective == "dino" else IBOTLoss
    return loss(prototypes, temperature, centering=centering, **rise)


def create_views(
    objective: str,
    multicrop: MultiCrop,
    augment: Augment,
    network: DistillationNetwork,
    seed: int,
    masking: Kind | Literal["published"] = "published",
    mask_ratio: float = 0.3,
    saliency: SaliencySource = "per_image",
    teacher_scale: tuple[float, float] = (1.0, 1.0),
) -> ViewMaker:
    """What makes an objective's views.

    Args:
        objective: see :func:`create_objective`.
        multicrop, augment, seed: see :class:`~vitad_med.augmentation.views.ViewMaker`.
        network: student or teacher; its patches are counted.
        masking: ``published`` is what the objective's paper does (``METHODS``); any other choice masks local views too,
            except in ``ibot``.
        mask_ratio: fraction of a view's patches.
        saliency: where ``attention`` takes it from.
        teacher_scale: see :class:`~vitad_med.augmentation.views.PairedViews`; for ``apmask`` and ``msn``.

    Raises:
        ConfigError: names the key: a ratio outside 0..1, view sizes that patches do not tile, iBOT without masks.
    """
    chosen = method(objective)
    published = masking == "published"
    masks = Masking(
        chosen.masking if published else masking,  # type: ignore[arg-type] # not "published" here
        mask_ratio,
        chosen.masks_local if published else not chosen.hides,
    )
    patch = patch_size(network.encoder)
    _check_masks(objective, masks, multicrop, patch)
    views: ViewMaker
    if chosen.paired:
        views = PairedViews(multicrop, augment, seed, masks, patch, saliency, teacher_scale)
    else:
        views = SharedViews(multicrop, augment, seed, masks, patch, saliency, chosen.hides)
    check_views(network, views)
    return views


def _check_masks(objective: str, masks: Masking, multicrop: MultiCrop, patch: int) -> None:
    """Say where k = floor(r N) masks nothing of a view; refuse it where the objective learns from masked patches."""
    sizes = {"global": multicrop.global_size}
    if masks.local and multicrop.local_views:
        sizes["local"] = multicrop.local_size
    for name, size in sizes.items():
        tokens = (size // patch) ** 2
        if masks.count(tokens):
            continue
        if METHODS[objective].hides:
            raise ConfigError(
                f"objective '{objective}' learns from masked patches, and masking '{masks.kind}' with mask_ratio "
                f"{masks.ratio:g} masks none of the {tokens} of a {name} view: set masking or a greater mask_ratio, or "
                "use dino"
            )
        if masks.kind != "none":
            logger.warning(
                "mask_ratio %g masks none of the %d patches of a %s view: the student sees every one",
                masks.ratio,
                tokens,
                name,
            )


def check(views: ViewMaker, batch_size: int) -> None:
    """Refuse what cannot train before images are read; naming ``views`` makes MONAI build and check them."""
    check_batch_size(batch_size)
    logger.info("masking: %s, ratio %g", views.masking.kind, views.masking.ratio)


def warn_of_few_samples(
    objective: str, loader: DataLoader[Any], queue: int, prototypes: int, centering: str = "sinkhorn"
) -> None:
    """Say what it means when a batch has fewer targets than there are prototypes to share them out among."""
    processes = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
    samples = (loader.batch_size or 0) * processes + queue
    shares_out = objective == "apmask" or (objective == "msn" and centering == "sinkhorn")
    if shares_out and samples < prototypes:
        remedy = f"a queue of at least {prototypes - samples + queue}" if objective == "apmask" else "a larger batch"
        logger.warning(
            "prototypes more than samples: %d samples share %d prototypes, so each prototype gets %.2g of a sample and "
            "targets cannot be sharp; %s would give each a whole one",
            samples,
            prototypes,
            samples / prototypes,
            remedy,
        )


def write_result(
    output_dir: str | Path,
    encoder: str,
    student: DistillationNetwork,
    teacher: DistillationNetwork,
    settings: Mapping[str, Any],
    images: Mapping[str, Any],
) -> None:
    """Write ``encoder.safetensors``, which the key ``weights`` of any bundle takes, and ``pretraining.json``.

    In a distributed run the first process does.

    Args:
        output_dir: holds ``history.csv`` of the training.
        encoder: ``teacher`` or ``student``: whose encoder is kept.
        student, teacher: the trained networks.
        settings: plain values, also the encoder's provenance.
        images: of :func:`~vitad_med.engines.training_images.training_summary`.

    Raises:
        ConfigError: ``encoder`` is neither.
        DataError: the history of the training is missing.
    """
    if encoder not in ("teacher", "student"):
        raise ConfigError(f"encoder '{encoder}' is unknown: use 'teacher' or 'student'")
    if not is_first():
        return
    folder = Path(output_dir)
    last = _last_epoch(folder / "history.csv")
    chosen = teacher if encoder == "teacher" else student
    provenance = {**settings, "encoder": encoder, **images}
    if "weights" in provenance:  # the file may leave the site: the folders of this machine stay here
        provenance["weights"] = Path(str(provenance["weights"])).name
    save_encoder(folder / ENCODER, chosen, provenance, keep_head=True)
    document = {
        "schema": SCHEMA,
        "settings": dict(settings),
        "encoder": encoder,
        "images": dict(images),
        "last_epoch": {name: float(value) for name, value in last.items() if value},
    }
    with atomic_path(folder / SUMMARY) as temporary:
        temporary.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _last_epoch(history: Path) -> dict[str, str]:
    try:
        with history.open(newline="") as file:
            return list(csv.DictReader(file))[-1]
    except (OSError, IndexError) as error:
        raise DataError(
            f"'{history}' of this training is missing or empty: put it back, or give --resume False to train anew"
        ) from error


class Results:
    """Handler that removes the result of an earlier training as soon as another one begins in its folder.

    A training that ends early, by a collapse or by Ctrl-C, must not leave an encoder that it did not make beside its
    history. One that was finished already begins no epoch, and its result stays.
    """

    def __init__(self, output_dir: str | Path) -> None:
        self.files = [Path(output_dir) / name for name in (ENCODER, SUMMARY)]

    def attach(self, engine: Engine) -> None:
        """Register on an ignite engine."""
        engine.add_event_handler(Events.EPOCH_STARTED, self.remove)

    def remove(self, engine: Engine) -> None:
        """Remove the files; in a distributed run the first process does."""
        for file in self.files if is_first() else ():
            file.unlink(missing_ok=True)
