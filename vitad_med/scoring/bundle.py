"""A bundle made ready to score: its network, what it is meant for, and the digests that calibrations are bound to."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser
from monai.inferers import Inferer
from torch import nn

from vitad_med.bundles.errors import plain_errors
from vitad_med.bundles.metadata import read_metadata
from vitad_med.bundles.strict import check_keys, declared_config
from vitad_med.bundles.values import EXPRESSION, check_types, check_values
from vitad_med.data.dicom.intended_use import IntendedUse
from vitad_med.errors import ConfigError

CONFIG = "evaluate.json"
"""The config that calibrations are made with: the same network, settings and digests give the scores here."""


@dataclass(frozen=True)
class ScoringBundle:
    """What scoring needs of a bundle.

    Attributes:
        folder: of the bundle.
        name: e.g. ``attn_synth``.
        version: of its metadata.
        network: on its device, in evaluation mode.
        inferer: called with images [B, C, S, S] in 0..1 and the network, returns an
            :class:`~vitad_med.outputs.AnomalyOutput`.
        device: of the network.
        channels, image_size: of the images that the inferer takes, as an evaluation reads them.
        score_rule: what the image score is, in words.
        val_fraction, split_seed: which patients a training with them holds out.
        pipeline: settings that change scores, plain values, as in a run's journal.
        backend: what computes the scores, as in a run's journal.
        model_digest: SHA-256 of the weights.
        intended: what the bundle is meant for.
    """

    folder: Path
    name: str
    version: str
    network: nn.Module
    inferer: Inferer
    device: torch.device
    channels: int
    image_size: int
    score_rule: str
    val_fraction: float
    split_seed: int
    pipeline: Mapping[str, Any]
    backend: Mapping[str, Any]
    model_digest: str
    intended: IntendedUse


def load_bundle(folder: str | Path, overrides: Mapping[str, Any] | None = None) -> ScoringBundle:
    """Build the network of a bundle with its weights.

    Args:
        folder: of the bundle.
        overrides: values of keys of its ``evaluate.json``, e.g. ``{"device": "cuda:1", "amp": True}``.

    Raises:
        ConfigError: no bundle, or a key that its config does not have.
        WeightsError: its weights are missing or do not fit.
    """
    root = Path(folder).expanduser().resolve()
    metadata = read_metadata(root)
    parser = _parser(root, overrides or {})
    with plain_errors(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="parsing config_file")
        found = {
            key: parser.get_parsed_content(key)
            for key in ("network", "inferer", "compute_device", *_PLAIN, "pipeline", "backend", "model_digest")
        }
        # Of the files as they are read: a bundle that looks at several sizes reads them larger.
        found["image_size"] = parser.get_parsed_content("dataset#image_size")
    return ScoringBundle(
        folder=root,
        name=root.name,
        version=str(metadata.get("version", "")),
        network=found["network"].eval(),
        inferer=found["inferer"],
        device=torch.device(found["compute_device"]),
        intended=IntendedUse.of_metadata(metadata),
        **{key: found[key] for key in (*_PLAIN, "pipeline", "backend", "model_digest")},
    )


_PLAIN = ("channels", "image_size", "score_rule", "val_fraction", "split_seed")


def _parser(root: Path, overrides: Mapping[str, Any]) -> ConfigParser:
    declared = declared_config([root / "configs" / CONFIG])
    parser = ConfigParser(declared_config([root / "configs" / CONFIG]))
    own = {"bundle_root": str(root)}
    for key, value in {**own, **overrides}.items():
        if key in own and key in overrides:
            raise ConfigError(f"--set {key}: this command sets that key itself; leave it out.")
        parser[key] = value
    given = {key: value for key, value in parser.get().items() if key != ConfigParser.meta_key}
    check_keys(declared, given, config_name=f"'{root.name}/configs/{CONFIG}'", files=_NO_FILES)
    check_types(declared, given)
    check_values({key: value for key, value in overrides.items() if not str(value).startswith(EXPRESSION)})
    return parser


_NO_FILES: Sequence[Path] = ()
