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
from torch.utils.data import DataLoader

from vitad_med.augmentation.intensity import Augment
from vitad_med.augmentation.masking import Kind, Masking
from vitad_med.augmentation.multicrop import MultiCrop
from vitad_med.augmentation.views import PairedViews, SaliencySource, SharedViews, ViewMaker
from vitad_med.checkpoint import atomic_path
from vitad_med.data.case import Case
from vitad_med.data.registry import read_cases
from vitad_med.engines.distillation import Objective, check_batch_size, check_views
from vitad_med.engines.setup import save_encoder, training_cases
from vitad_med.errors import ConfigError
from vitad_med.networks.distillation import DistillationNetwork
from vitad_med.networks.vit import patch_size
from vitad_med.objectives.apmask import APMaskLoss
from vitad_med.objectives.dino import Centering, DINOLoss
from vitad_med.objectives.ibot import IBOTLoss
from vitad_med.objectives.msn import MSNLoss

SCHEMA = "vitad_med/pretraining/1"
# Options with which a reader counts the images of training without asking for files that it does not need.
_TABLES_ALONE: dict[str, dict[str, Any]] = {
    "nih_chestxray14": {"require_images": False},
    "mvtec": {"require_masks": False},
}
# Readers that know nothing of their images.
_UNLABELLED = ("image_folder",)

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
    epsilon: float = 0.05,
    sinkhorn_iterations: int = 3,
    queue: int = 0,
    centering: Centering = "sinkhorn",
    mean_entropy_weight: float = 1.0,
) -> Objective:
    """The loss of an objective.

    Args:
        objective: ``apmask``, ``dino``, ``msn`` or ``ibot``.
        prototypes: K.
        temperature: of the student.
        epsilon: of Sinkhorn-Knopp: of ``apmask``, and of ``dino`` and ``ibot`` where they use it.
        sinkhorn_iterations, queue: of ``apmask``.
        centering: of ``dino`` and ``ibot``.
        mean_entropy_weight: of ``msn``.
    """
    method(objective)
    if queue and objective != "apmask":
        raise ConfigError(f"queue {queue} does not apply to objective '{objective}': leave it at 0")
    if objective == "apmask":
        return APMaskLoss(prototypes, temperature, epsilon, sinkhorn_iterations, queue)
    if objective == "msn":
        return MSNLoss(temperature, temperature / 4, mean_entropy_weight)
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
    if masks.kind != "none" and mask_ratio == 0:
        logger.warning("mask_ratio 0 masks nothing: the student sees every patch")
    if chosen.hides and (masks.kind == "none" or mask_ratio == 0):
        raise ConfigError(
            f"objective '{objective}' learns from masked patches: set masking and mask_ratio, or use dino"
        )
    patch = patch_size(network.encoder)
    views: ViewMaker
    if chosen.paired:
        views = PairedViews(multicrop, augment, seed, masks, patch, saliency, (teacher_scale[0], teacher_scale[1]))
    else:
        views = SharedViews(multicrop, augment, seed, masks, patch, saliency, chosen.hides)
    check_views(network, views)
    return views


def check(views: ViewMaker, batch_size: int) -> None:
    """Refuse what cannot train before images are read; naming ``views`` makes MONAI build and check them."""
    check_batch_size(batch_size)
    logger.info("masking: %s, ratio %g", views.masking.kind, views.masking.ratio)


def warn_of_few_samples(objective: str, loader: DataLoader[Any], queue: int, prototypes: int) -> None:
    """Say what it means when a batch has fewer targets than there are prototypes to share them out among."""
    processes = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
    samples = (loader.batch_size or 0) * processes + queue
    if objective == "apmask" and samples < prototypes:
        logger.warning(
            "prototypes more than samples: %d samples share %d prototypes, so each prototype gets %.2f of a sample and "
            "targets cannot be sharp; a queue of at least %d would give each a whole one",
            samples,
            prototypes,
            samples / prototypes,
            prototypes - samples + queue,
        )


def training_summary(
    data: str, dataset_dir: str, val_fraction: float, split_seed: int, options: Mapping[str, Any]
) -> tuple[list[Case], dict[str, Any]]:
    """Normal images to train on, and what was left out; a log line says it.

    Returns:
        cases as :func:`~vitad_med.engines.setup.training_cases` gives them, and counts for the result file.
    """
    cases = training_cases(data, dataset_dir, val_fraction, split_seed, options)
    trained = {case.case_id for case in cases}
    counts: dict[str, Any] = {"images": len(cases), "patients": len({case.patient_id for case in cases})}
    if data in _UNLABELLED:
        counts["labels"] = "unknown: every image is taken as normal"
        logger.warning(
            "%d training images of %d patients; no labels: every image is taken as normal, so an abnormal one among "
            "them is learned as normal",
            counts["images"],
            counts["patients"],
        )
        return cases, counts
    everyone = read_cases(data, dataset_dir, "all", **options, **_TABLES_ALONE.get(data, {}))
    listed = [case for case in everyone if case.split != "test"]
    abnormal = sum(case.label for case in listed)
    held_out = sum(case.case_id not in trained and case.label == 0 for case in listed)
    counts |= {"labels": "of the data set", "normal_held_out": held_out, "abnormal_left_out": abnormal}
    say = logger.warning if abnormal else logger.info
    say(
        "training images: %d normal of %d patients; left out: %d abnormal as labelled, %d normal for validation",
        counts["images"],
        counts["patients"],
        abnormal,
        held_out,
    )
    return cases, counts


def write_result(
    output_dir: str | Path,
    encoder: str,
    student: DistillationNetwork,
    teacher: DistillationNetwork,
    settings: Mapping[str, Any],
    images: Mapping[str, Any],
) -> None:
    """Write ``encoder.safetensors``, which the key ``weights`` of any bundle takes, and ``pretraining.json``.

    Args:
        output_dir: holds ``history.csv`` of the training.
        encoder: ``teacher`` or ``student``: whose encoder is kept.
        student, teacher: the trained networks.
        settings: plain values, also the encoder's provenance.
        images: of :func:`training_summary`.
    """
    if encoder not in ("teacher", "student"):
        raise ConfigError(f"encoder '{encoder}' is unknown: use 'teacher' or 'student'")
    folder = Path(output_dir)
    chosen = teacher if encoder == "teacher" else student
    provenance = {**settings, "encoder": encoder, "images": images["images"]}
    if "weights" in provenance:  # the file may leave the site: the folders of this machine stay here
        provenance["weights"] = Path(str(provenance["weights"])).name
    save_encoder(folder / "encoder.safetensors", chosen, provenance, keep_head=True)
    with (folder / "history.csv").open(newline="") as file:
        last = list(csv.DictReader(file))[-1]
    document = {
        "schema": SCHEMA,
        "settings": dict(settings),
        "encoder": encoder,
        "images": dict(images),
        "last_epoch": {name: float(value) for name, value in last.items() if value},
    }
    with atomic_path(folder / "pretraining.json") as temporary:
        temporary.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
