"""Factories that ``adapt.json`` calls, so that it wires objects and holds no logic."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vitad_med.adaptation.guard import Guard, disjoint
from vitad_med.adaptation.methods import SourceViews
from vitad_med.adaptation.statistics import SourceStatistics, read_statistics
from vitad_med.augmentation.intensity import Augment
from vitad_med.augmentation.multicrop import MultiCrop
from vitad_med.data.cache import resized_array
from vitad_med.data.case import Case
from vitad_med.data.registry import read_cases
from vitad_med.data.roster import naming, patient_names, recognises
from vitad_med.engines.adaptation import AdaptedOutput, localized_flags
from vitad_med.engines.adaptation_stream import evaluation_stream, transductive_stream
from vitad_med.engines.inference import prepare_images
from vitad_med.engines.loading import ImageArray, to_unit_range
from vitad_med.engines.precision import Precision
from vitad_med.engines.proxy_task import ProxyTask, Scorer
from vitad_med.engines.synthetic_validation import SyntheticSet, evenly_spaced
from vitad_med.errors import DataError
from vitad_med.networks.proxy import ProxyNetwork
from vitad_med.networks.vit import patch_size
from vitad_med.objectives.proxy import Views
from vitad_med.outputs import AnomalyOutput
from vitad_med.reproducibility import generator
from vitad_med.synthesis import SyntheticScheme

__all__ = [
    "autocast",
    "create_guard",
    "evaluation_stream",
    "guard_images",
    "localized_flags",
    "other",
    "prepare_stream",
    "source_cases",
    "source_statistics",
    "source_views",
    "title",
    "transductive_stream",
]

logger = logging.getLogger(__name__)

WHOLE = MultiCrop(global_views=1, global_scale=(1.0, 1.0), local_views=0, ratio=(1.0, 1.0))
UNCHANGED = Augment(brightness=0.0, contrast=0.0, gamma=0.0, blur=0.0, flip=0.0)


def source_statistics(
    path: str | Path,
    method: str,
    model_digest: str,
    pipeline: Mapping[str, Any],
    renormalise_rows: bool,
    network: ProxyNetwork,
    image_size: int,
) -> SourceStatistics | None:
    """Statistics of the training images, checked against the model; None where no method needs them and none are there.

    Of a method that aligns nothing only the patients are of use, so that image size and pipeline may be others.

    Raises:
        DataError, ConfigError, WeightsError: missing where they are needed, damaged, or of another model, image size or
            pipeline.
    """
    if method != "alignment" and not Path(path).is_file():
        logger.warning(
            "no file 'statistics': the guard's patients cannot be compared with those of training; "
            "`vitad-med stats` makes it"
        )
        return None
    statistics = read_statistics(path)
    if method != "alignment":
        statistics.check_model(model_digest)
        return statistics
    side = image_size // patch_size(network.encoder)
    statistics.check(model_digest, pipeline, renormalise_rows, (side, side))
    return statistics


def guard_images(
    guard: str,
    method: str,
    *,
    data: str,
    dataset_dir: str | Path,
    section: str,
    val_fraction: float,
    split_seed: int,
    options: Mapping[str, Any],
    calibration_dataset_dir: str | Path | None,
    statistics: SourceStatistics | None,
    identifier_key: bytes | None,
    limit: int | None = None,
) -> list[Case]:
    """Held normal images whose patients took part neither in training and statistics nor in a calibration.

    Args:
        guard: ``off`` gives none.
        method: ``none`` needs no guard.
        data, dataset_dir, section, val_fraction, split_seed, options: of the held normals, as for ``read_cases``.
        calibration_dataset_dir: images that a threshold was set on, read like the held normals; None where there are
            none.
        statistics: know the patients of training.
        identifier_key: the site's secret, for patients of data sets that are not public.
        limit: at most this many images, evenly spaced in the order of the cases.

    Raises:
        DataError: nobody is left.
    """
    if guard == "off" or method == "none":
        return []
    fraction = val_fraction if section in ("train", "val") else 0.0
    cases = read_cases(data, dataset_dir, section, val_fraction=fraction, split_seed=split_seed, **options)
    known: set[str] = set(statistics.patients) if statistics is not None else set()
    if calibration_dataset_dir is not None:
        known |= set(patient_names(read_cases(data, calibration_dataset_dir, "all"), identifier_key))
    normal = [case for case in cases if case.label == 0]
    if statistics is not None and not recognises(statistics.naming, naming(normal, identifier_key)):
        logger.warning(
            "guard: the statistics name patients under another key or under none, so it cannot be checked whether "
            "guard patients took part in training: give --identifier_key_file the key that they were made with"
        )
    kept, dropped = disjoint(normal, patient_names(normal, identifier_key), known)
    if dropped:
        logger.info("guard: %d images of patients known to training or calibration are left out", dropped)
    if not kept:
        raise DataError(
            f"the guard has no normal image of a patient unknown to training: give --guard_dataset_dir and "
            f"--guard_section other images than section '{section}', or --guard off"
        )
    return evenly_spaced(kept, limit)


def create_guard(
    cases: Sequence[Case],
    scorer: Scorer,
    synthesis: SyntheticScheme,
    *,
    image_size: int,
    channels: int,
    seed: int,
    level: float,
    replicates: int,
    batch_size: int,
) -> Guard | None:
    """The guard over held normal images and one fixed synthetic anomaly of each; None without images."""
    if not cases:
        return None
    pairs = SyntheticSet(cases, scorer, synthesis, image_size, seed, channels)
    patients = [case.patient_id for case in cases]
    return Guard(pairs.normals, pairs.synthetic, patients, level, replicates, seed, batch_size)


def source_cases(
    method: str,
    *,
    data: str,
    dataset_dir: str | Path,
    val_fraction: float,
    split_seed: int,
    options: Mapping[str, Any],
) -> list[Case]:
    """The training normals of the method ``continued``; none for other methods."""
    if method != "continued":
        return []
    return read_cases(data, dataset_dir, "train", val_fraction=val_fraction, split_seed=split_seed, **options)


def source_views(
    cases: Sequence[Case],
    *,
    scorer: Scorer,
    synthesis: SyntheticScheme,
    image_size: int,
    channels: int,
    batch_size: int,
    seed: int,
    cache_dir: str | Path | None,
) -> SourceViews | None:
    """Batches of the control: half training normals, half their synthetic copies, whole; None without cases."""
    if not cases:
        return None
    array = ImageArray(resized_array(cases, image_size, cache_dir, channels), [str(c.image_path) for c in cases])
    task = ProxyTask(scorer, synthesis, replace(WHOLE, global_size=image_size), UNCHANGED, seed, crop_label="mask")
    half = min(max(1, batch_size // 2), len(array))

    def views(step: int) -> list[Views]:
        chosen = torch.randperm(len(array), generator=generator(seed, step, 11))[:half].tolist()
        items = [array[index] for index in chosen]
        images = to_unit_range(torch.stack([item["image"] for item in items]), scorer.mean.device)
        return task(images, step, names=[item["name"] for item in items])

    return views


def autocast(device: torch.device, amp: bool) -> Callable[[], AbstractContextManager[None]]:
    """Context of adaptation's forward passes: bf16 where asked for and there, else float32.

    fp16 is not used: gradients of normalisation layers would need loss scaling.
    """
    precision = Precision.of(device, amp)
    if precision.dtype is torch.float16:
        logger.info("this device has no bf16: adaptation computes in float32")
        precision = Precision.of(device, False)
    return precision.autocast


def prepare_stream(
    batch: dict[str, Any], device: torch.device, non_blocking: bool = False, **_: Any
) -> tuple[Tensor, Tensor, tuple[()], dict[str, Tensor]]:
    """MONAI ``prepare_batch`` that also tells the inferer which cases the images are."""
    images, labels = prepare_images(batch, device, non_blocking)
    return images, labels, (), {"index": batch["index"]}


def other(output: AdaptedOutput) -> AnomalyOutput:
    """The prediction that ``predict`` did not choose."""
    return output.other


def title(mode: str, predict: str, chosen: bool) -> str:
    """Heading of a table: which state of the model it is about."""
    after = chosen == (predict == "after_step")
    if mode == "transductive":
        return "After adaptation to the unlabelled test set" if after else "Source model"
    return "After the update on each batch" if after else "Before the update on each batch"
