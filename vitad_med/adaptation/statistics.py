"""What adaptation knows of the training images: statistics of their attention entropy (Eq. 6-8, BMVC 2022).

They say which model, settings, images and patients they were made of, because they are of no use with any other model.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from vitad_med.checkpoint import safetensors_bytes, save_safetensors
from vitad_med.data.roster import UNKEYED
from vitad_med.data.shards import parse_shard_name
from vitad_med.digests import config_digest, first_difference, short, state_digest
from vitad_med.errors import ConfigError, DataError, WeightsError
from vitad_med.objectives.alignment import Moment

StatisticsViews = Literal["full_frame", "global"]

SCHEMA = "vitad_med/source_statistics/1"
REMEDY = "run summarize.json, or `vitad-med stats`, with this model and these settings"


@dataclass(frozen=True, eq=False)
class SourceStatistics:
    """Statistics of attention entropy by class (0 normal, 1 synthetic) and patch token.

    Attributes:
        mean: float64 [2, N], nats (Eq. 7).
        squares: float64 [2, N], sums of squared deviations from ``mean``.
        count: int64 [2], images of each class.
        grid: (rows, columns) of the patch tokens, N = rows x columns.
        image_size: side of the images in pixels.
        model_digest: of the model that attended.
        pipeline: settings that change what a model says of an image, plain values by key.
        renormalise_rows: whether rows of the attention matrix summed to 1 without the CLS column.
        views: ``full_frame`` images as in a test, or a ``global`` random crop of each.
        multicrop: how crops were drawn; None at full frame.
        synthesis: how synthetic copies were made.
        scorer_digest: of the network whose saliency guided them.
        seed: of the copies and crops.
        data_digests: of the images of each part that was merged, sorted.
        patients: of the images, as :func:`vitad_med.data.roster.patient_keys` names them.
        naming: how they are named (:func:`vitad_med.data.roster.naming`).
        shards: which part of which list of images each part that was merged is
            (:func:`vitad_med.data.shards.shard_name`), sorted; empty in files that do not say so.
    """

    mean: Tensor
    squares: Tensor
    count: Tensor
    grid: tuple[int, int]
    image_size: int
    model_digest: str
    pipeline: Mapping[str, Any]
    renormalise_rows: bool
    views: StatisticsViews
    multicrop: str | None
    synthesis: str
    scorer_digest: str
    seed: int
    data_digests: tuple[str, ...]
    patients: frozenset[str]
    naming: tuple[str, ...]
    shards: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        tokens = self.grid[0] * self.grid[1]
        for name, dtype, shape in (
            ("mean", torch.float64, (2, tokens)),
            ("squares", torch.float64, (2, tokens)),
            ("count", torch.int64, (2,)),
        ):
            value = getattr(self, name)
            if value.dtype != dtype or tuple(value.shape) != shape:
                raise DataError(f"'{name}' is {value.dtype} {list(value.shape)}, but must be {dtype} {list(shape)}")
            if not bool(value.isfinite().all()):
                raise DataError(f"'{name}' has values that are not finite")
        if bool((self.squares < 0).any()) or bool((self.count < 0).any()):
            raise DataError("'squares' or 'count' has negative values")
        if self.views not in get_args(StatisticsViews):
            raise DataError(f"'views' is {self.views!r}, but must be one of {', '.join(get_args(StatisticsViews))}")
        for shard in self.shards:
            parse_shard_name(shard)

    @property
    def pipeline_digest(self) -> str:
        """SHA-256 of ``pipeline``."""
        return config_digest(self.pipeline)

    @property
    def patients_known(self) -> bool:
        """False where patients could not be named for want of a site's key: ``patients`` lacks them."""
        return UNKEYED not in self.naming

    @property
    def digest(self) -> str:
        """SHA-256 of the file's bytes, whether or not it was written."""
        return hashlib.sha256(safetensors_bytes(*_content(self))).hexdigest()

    def second_moment(self, moment: Moment) -> Tensor:
        """Second central moment, float64 [2, N], of the kind that :class:`AlignmentLoss` compares with (Eq. 8).

        Args:
            moment: ``unbiased`` divides by n - 1, ``literal`` by n, as the paper does.

        Raises:
            ConfigError: ``moment`` is neither.
            DataError: a class has too few images.
        """
        if moment not in get_args(Moment):
            raise ConfigError(f"moment '{moment}' is unknown: use 'unbiased' or 'literal'")
        divisor = self.count - (1 if moment == "unbiased" else 0)
        if int(divisor.min()) < 1:
            raise DataError(
                f"statistics of {self.count[0]} normal and {self.count[1]} synthetic images have no {moment} second "
                "moment: make them of more images"
            )
        return self.squares / divisor[:, None]

    def check_model(self, model_digest: str) -> None:
        """Refuse statistics of another model; enough where only their patients are asked for.

        Raises:
            WeightsError: of another model.
        """
        if self.model_digest != model_digest:
            raise WeightsError(
                f"the source statistics are of another model, {short(self.model_digest)} there and "
                f"{short(model_digest)} here: {REMEDY}"
            )

    def check(
        self, model_digest: str, pipeline: Mapping[str, Any], renormalise_rows: bool, grid: tuple[int, int]
    ) -> None:
        """Refuse statistics that were not made with this model and these settings.

        Raises:
            WeightsError: of another model.
            ConfigError: of another image size, pipeline or reading of the attention matrix; names the key.
        """
        self.check_model(model_digest)
        if self.grid != tuple(grid):
            raise ConfigError(
                f"the source statistics are of {self.grid[0]} x {self.grid[1]} patches (image_size {self.image_size}), "
                f"the images here have {grid[0]} x {grid[1]}: {REMEDY}, or set image_size {self.image_size}"
            )
        own = {**self.pipeline, "renormalise_rows": self.renormalise_rows}
        difference = first_difference(own, {**pipeline, "renormalise_rows": renormalise_rows})
        if difference is not None:
            key, there, here = difference
            raise ConfigError(f"the source statistics have {key} {there}, here it is {here}: {REMEDY}")


def write_statistics(path: str | Path, statistics: SourceStatistics) -> None:
    """Write a safetensors file: ``mean``, ``squares`` and ``count``, all else as metadata. Same content, same bytes.

    Raises:
        StorageError: the file cannot be written; a former one is intact.
    """
    save_safetensors(Path(path), *_content(statistics))


def read_statistics(path: str | Path) -> SourceStatistics:
    """Read what :func:`write_statistics` wrote.

    Raises:
        DataError: the file is missing, damaged, of another schema, or holds values that cannot be.
    """
    try:
        with safe_open(Path(path), "pt") as file:
            found = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it is no dictionary
    except FileNotFoundError as error:
        raise DataError(
            f"statistics '{path}' do not exist: make them with summarize.json or `vitad-med stats`"
        ) from error
    except (SafetensorError, OSError) as error:
        raise DataError(f"statistics '{path}' are no safetensors file, or damaged: make them again") from error
    if found.get("schema") != SCHEMA:
        raise DataError(
            f"'{path}': schema is {found.get('schema')!r}, but must be '{SCHEMA}'; make the statistics again"
        )
    required = (*(name for name in _METADATA if name != "shards"), "tensor_digest")
    missing = [name for name in required if name not in found]
    missing += [name for name in _TENSORS if name not in tensors]
    if missing:
        raise DataError(f"statistics '{path}' lack '{missing[0]}': make them again")
    if found["tensor_digest"] != state_digest(tensors):
        raise DataError(f"statistics '{path}' are damaged: their values do not have the stored digest; make them again")
    try:
        values = {name: json.loads(found.get(name, "[]")) for name in _METADATA}
        values |= {"grid": tuple(values["grid"]), "patients": frozenset(values["patients"])}
        values |= {name: tuple(values[name]) for name in ("data_digests", "naming", "shards")}
        wrong = [name for name, kind in _KINDS.items() if type(values[name]) is not kind]
        if wrong:
            raise DataError(f"'{wrong[0]}' is {values[wrong[0]]!r}, but must be {_KINDS[wrong[0]].__name__}")
        return SourceStatistics(**{name: tensors[name] for name in _TENSORS}, **values)
    except (ValueError, TypeError, IndexError) as error:
        raise DataError(f"statistics '{path}' have metadata that cannot be read: make them again") from error
    except DataError as error:
        raise DataError(f"statistics '{path}': {error}; make them again") from error


_TENSORS = ("mean", "squares", "count")
_METADATA = tuple(field.name for field in fields(SourceStatistics) if field.name not in _TENSORS)
_KINDS = {
    "image_size": int,
    "seed": int,
    "renormalise_rows": bool,
    "pipeline": dict,
    **dict.fromkeys(("model_digest", "synthesis", "scorer_digest"), str),
}


def _content(statistics: SourceStatistics) -> tuple[dict[str, Tensor], dict[str, str]]:
    tensors = {name: getattr(statistics, name) for name in _TENSORS}
    values = {name: getattr(statistics, name) for name in _METADATA}
    values |= {"patients": sorted(statistics.patients), "pipeline": dict(statistics.pipeline)}
    # Not told means not written, so that statistics of unknown parts keep their bytes and digest.
    values = {name: value for name, value in values.items() if name != "shards" or value}
    metadata = {name: json.dumps(value, sort_keys=True, allow_nan=False) for name, value in values.items()}
    return tensors, {**metadata, "schema": SCHEMA, "tensor_digest": state_digest(tensors)}
