"""Fitted models and unfinished fits as safetensors that say what they were made of, and are refused where they do not
fit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from vitad_med.checkpoint import atomic_path
from vitad_med.data.shards import parse_shard_name
from vitad_med.digests import config_digest, first_difference, short, state_digest
from vitad_med.errors import ConfigError, DataError, WeightsError
from vitad_med.networks.features import FeatureExtractor

Content = Literal["model", "part"]

SCHEMA = "vitad_med/normality/1"


@dataclass(frozen=True)
class Provenance:
    """What a fit was made of.

    Attributes:
        extractor: settings of the feature extractor, plain values by key.
        extractor_digest: of its tensors.
        image_size: side of the images in pixels.
        grid: rows and columns of the features.
        channels: D.
        image_channels: 1 (grey) or 3.
        data_digests: of the images of each part that was merged, sorted.
        patients: of the images, as :func:`vitad_med.data.roster.patient_keys` names them.
        naming: how they are named (:func:`vitad_med.data.roster.naming`).
        shards: which part of which list each part that was merged is (:func:`vitad_med.data.shards.shard_name`),
            sorted; empty if not told.
    """

    extractor: Mapping[str, Any]
    extractor_digest: str
    image_size: int
    grid: tuple[int, int]
    channels: int
    image_channels: int
    data_digests: tuple[str, ...]
    patients: frozenset[str]
    naming: tuple[str, ...]
    shards: tuple[str, ...] = ()

    @classmethod
    def of(cls, extractor: FeatureExtractor, image_size: int, image_channels: int, **of_images: Any) -> Provenance:
        """Of an extractor at an image size, and ``data_digests``, ``patients``, ``naming`` and ``shards``."""
        return cls(
            extractor.settings,
            extractor.digest(),
            image_size,
            extractor.grid_of(image_size),
            extractor.channels,
            image_channels,
            **of_images,
        )

    @property
    def features(self) -> dict[str, Any]:
        """What two sets of features must have in common to be comparable, plain values by key."""
        return {
            **{f"extractor {key}": value for key, value in self.extractor.items()},
            "image_size": self.image_size,
            "image_channels": self.image_channels,
            "channels": self.channels,
            "grid": list(self.grid),
            "extractor_digest": self.extractor_digest,
        }

    def check_extractor(
        self, extractor: FeatureExtractor, image_size: int | None, path: str | Path, image_channels: int | None = None
    ) -> None:
        """Refuse another extractor, image size or number of image channels than those of the fit; None fits any.

        Raises:
            ConfigError: settings differ; names the key and both values.
            WeightsError: settings are the same, the tensors are not.
        """
        difference = first_difference(extractor.settings, self.extractor)
        if difference is None and image_size is not None and image_size != self.image_size:
            difference = ("image_size", repr(image_size), repr(self.image_size))
        if difference is None and image_channels is not None and image_channels != self.image_channels:
            # By the key that a configuration has.
            difference = ("channels", repr(image_channels), repr(self.image_channels))
        if difference is not None:
            key, here, there = difference
            raise ConfigError(f"'{path}' was fitted with {key} {there}, here it is {here}: use that, or fit again")
        if extractor.digest() != self.extractor_digest:
            raise WeightsError(
                f"'{path}' was fitted on features of other weights, {short(self.extractor_digest)} there and "
                f"{short(extractor.digest())} here: use the weights of the fit, or fit again"
            )


@dataclass(frozen=True)
class Stored:
    """Content of a file.

    Attributes:
        content: a finished ``model``, or a ``part`` that can be gone on with and merged.
        kind: of the model (:attr:`vitad_med.normality.model.NormalityModel.kind`).
        settings: of the model or the collection, plain values by key.
        provenance: what it was made of.
        tensors: by name.
        batches: how many were taken in when a part was written, and of how many images each; (0, 0) in a model.
        complete: whether all images were.
        digest: what :func:`model_digest` reads of the file that it was read from; empty before.
    """

    content: Content
    kind: str
    settings: Mapping[str, Any]
    provenance: Provenance
    tensors: Mapping[str, Tensor]
    batches: tuple[int, int] = (0, 0)
    complete: bool = True
    digest: str = field(default="", compare=False)


def write_stored(path: str | Path, stored: Stored) -> str:
    """Write a safetensors file, replaced whole; same content, same bytes.

    Tensors go to the file one by one, because those of a large fit would not lie in memory twice.

    Returns:
        the digest that :func:`model_digest` reads.

    Raises:
        StorageError: the file cannot be written; a former one is intact.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in stored.tensors.items()}
    provenance = {one.name: getattr(stored.provenance, one.name) for one in fields(Provenance)}
    provenance |= {"patients": sorted(stored.provenance.patients), "extractor": dict(stored.provenance.extractor)}
    metadata = {
        "schema": SCHEMA,
        "content": stored.content,
        "kind": stored.kind,
        "tensor_digest": state_digest(tensors),
        **{
            name: json.dumps(value, sort_keys=True, allow_nan=False)
            for name, value in (
                ("settings", dict(stored.settings)),
                ("provenance", provenance),
                ("batches", list(stored.batches)),
                ("complete", stored.complete),
            )
        },
    }
    # Widest types first, so that every tensor begins at a multiple of its own width.
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header: dict[str, Any] = {"__metadata__": metadata}
    end = 0
    for name in order:
        start, end = end, end + tensors[name].numel() * tensors[name].element_size()
        dtype = _TYPES[str(tensors[name].dtype)]
        header[name] = {"dtype": dtype, "shape": list(tensors[name].shape), "data_offsets": [start, end]}
    text = json.dumps(header, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with atomic_path(Path(path)) as temporary, temporary.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            if tensors[name].numel():
                file.write(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return _digest(metadata)


def read_stored(path: str | Path, content: Content | None = None) -> Stored:
    """Read what :func:`write_stored` wrote; ``content`` says what it must be, None takes either.

    Raises:
        WeightsError: the file is missing, damaged, of another schema, or of the other kind of content.
    """
    path = Path(path)
    metadata, tensors = _read(path, with_tensors=True)
    if content is not None and metadata["content"] != content:
        wanted, found = ("a fitted model", "an unfinished part") if content == "model" else ("a part", "a fitted model")
        raise WeightsError(f"'{path}' is {found}, not {wanted}: give the other file that the fit wrote")
    if metadata["tensor_digest"] != state_digest(tensors):
        raise WeightsError(f"'{path}' is damaged: its values do not have the stored digest; fit again")
    try:
        values = json.loads(metadata["provenance"])
        values |= {name: tuple(values[name]) for name in ("grid", "data_digests", "naming", "shards")}
        values["patients"] = frozenset(values["patients"])
        for shard in values["shards"]:
            parse_shard_name(shard)
        done, batch_size = json.loads(metadata["batches"])
        return Stored(
            "model" if metadata["content"] == "model" else "part",
            metadata["kind"],
            dict(json.loads(metadata["settings"])),
            Provenance(**values),
            tensors,
            (int(done), int(batch_size)),
            bool(json.loads(metadata["complete"])),
            _digest(metadata),
        )
    except (ValueError, TypeError, KeyError, DataError) as error:
        raise WeightsError(f"'{path}' has metadata that cannot be read: fit again") from error


def model_digest(path: str | Path) -> str:
    """Digest that names a fitted model: of its tensors, settings and what it was made of. Reads no tensor.

    Raises:
        WeightsError: see :func:`read_stored`.
    """
    return _digest(_read(Path(path), with_tensors=False)[0])


_TYPES = {"torch.float64": "F64", "torch.float32": "F32", "torch.int64": "I64"}
_REQUIRED = ("content", "kind", "settings", "provenance", "batches", "complete", "tensor_digest")


def _digest(metadata: Mapping[str, str]) -> str:
    return config_digest({name: metadata[name] for name in ("schema", *_REQUIRED)})


def _read(path: Path, with_tensors: bool) -> tuple[dict[str, str], dict[str, Tensor]]:
    if not path.is_file():
        raise WeightsError(
            f"fitted model '{path}' does not exist: run train.json first, and give the file that it wrote"
        )
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            names = list(file.keys()) if with_tensors else []
            tensors = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"'{path}' is no safetensors file, or damaged: fit again") from error
    if metadata.get("schema") != SCHEMA:
        raise WeightsError(f"'{path}': schema is {metadata.get('schema')!r}, but must be '{SCHEMA}'; fit again")
    missing = [name for name in _REQUIRED if name not in metadata]
    if missing:
        raise WeightsError(f"'{path}' lacks '{missing[0]}': fit again")
    return metadata, tensors
