"""Features before the head by type of image: a picture, its coordinates, and how well the types can be told apart."""

from __future__ import annotations

import csv
import io
import json
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vitad_med.data.cache import resized_array
from vitad_med.data.case import Case
from vitad_med.data.intensity import to_unit_range
from vitad_med.data.splits import split_digest
from vitad_med.digests import state_digest
from vitad_med.engines.proxy_task import Scorer
from vitad_med.engines.synthetic_validation import SyntheticSet, evenly_spaced
from vitad_med.errors import ConfigError, DataError
from vitad_med.evaluation.feature_picture import ABNORMAL, MAX_TYPES, NORMAL, SYNTHETIC, draw, perplexity_of, tsne
from vitad_med.evaluation.files import write_bytes, write_text
from vitad_med.evaluation.verdict import format_figure
from vitad_med.metrics.exact import exact_auroc
from vitad_med.metrics.metadata import metadata_null
from vitad_med.metrics.separability import separability
from vitad_med.networks.proxy import ProxyNetwork
from vitad_med.predictions.identifiers import (
    Identifiers,
    default_identifiers,
    public_names,
    read_identifier_key,
    safe_cell,
)
from vitad_med.synthesis import SyntheticScheme

By = Literal["group", "finding"]
PICTURE, COORDINATES, FIGURES = "features.png", "features.csv", "features.json"
COLUMNS = ("case_id", "patient_id", "group", "findings", "x", "y")
SEVERAL, OTHER = "several findings", "other findings"
WARNING = (
    "t-SNE keeps neighbours: distances between clusters, their size and their density mean little, and clusters appear "
    "in noise too. Read the figures; they are of images of patients that the classifier has not seen."
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FeatureSet:
    """Features of images.

    Attributes:
        features: float32 [N, D].
        groups: ``normal``, ``synthetic anomaly`` or ``abnormal``, [N].
        cases: [N]; of a synthetic anomaly, the image that it was made of.
    """

    features: NDArray[np.float32]
    groups: tuple[str, ...]
    cases: tuple[Case, ...]


def collect_features(
    network: ProxyNetwork,
    cases: Sequence[Case],
    scorer: Scorer,
    synthesis: SyntheticScheme,
    image_size: int,
    channels: int = 1,
    seed: int = 0,
    limit: int | None = None,
    batch_size: int = 16,
) -> FeatureSet:
    """Features of normal images, of one synthetic anomaly of each, and of abnormal images.

    Args:
        network: whose CLS token is taken, on its device; put into evaluation mode.
        cases: normal ones, and abnormal ones where there are any.
        scorer, synthesis, seed: of the synthetic anomalies, which are those of ``synthetic.json``.
        image_size, channels: as for the network.
        limit: at most so many images of each group, evenly spaced in the order of the cases; None takes all.
        batch_size: images in one forward pass.

    Raises:
        DataError: no image is normal, or one cannot be read.
    """
    normal = evenly_spaced([case for case in cases if case.label == 0], limit)
    abnormal = evenly_spaced([case for case in cases if case.label == 1], limit)
    if not normal:
        raise DataError("No image is normal, so there is nothing that anomalies could be compared with.")
    device = network.mean.device
    pairs = SyntheticSet(normal, scorer.to(device), synthesis, image_size, seed, channels)
    images = {NORMAL: pairs.normals, SYNTHETIC: pairs.synthetic}
    members: dict[str, list[Case]] = {NORMAL: normal, SYNTHETIC: normal}
    if abnormal:
        images[ABNORMAL] = torch.from_numpy(to_unit_range(resized_array(abnormal, image_size, channels=channels)))
        members[ABNORMAL] = abnormal
    network.eval()
    parts: list[NDArray[np.float32]] = []
    with torch.no_grad():
        for name, group in images.items():
            logger.info("features of %d images, %s", len(group), name)
            parts += [_numpy(network.features(part.to(device))) for part in group.split(batch_size)]
    return FeatureSet(
        features=np.concatenate(parts),
        groups=tuple(name for name, group in members.items() for _ in group),
        cases=tuple(case for group in members.values() for case in group),
    )


def write_features(
    network: ProxyNetwork,
    cases: Sequence[Case],
    scorer: Scorer,
    synthesis: SyntheticScheme,
    output_dir: str | Path,
    image_size: int,
    channels: int = 1,
    seed: int = 0,
    limit: int | None = None,
    batch_size: int = 16,
    by: By = "group",
    model: str = "",
    model_digest: str | None = None,
    identifiers: Identifiers | None = None,
    identifier_key_file: str | Path | None = None,
    data: str | None = None,
    section: str | None = None,
) -> dict[str, Any]:
    """Write ``features.png``, ``features.csv`` and ``features.json``.

    The picture names no image and no patient; the table names them as all tables do (:mod:`.images_csv`).

    Args:
        network, cases, scorer, synthesis, image_size, channels, seed, limit, batch_size: see :func:`collect_features`.
        output_dir: where the files go.
        by: what colours show: ``group``, or ``finding`` to tell types of anomaly apart.
        model: what the title calls the network.
        model_digest: of its stored weights; None is the digest of the encoder as it is.
        identifiers, identifier_key_file: names in the table, as in evaluations.
        data, section: source and section of the cases, for the file.

    Returns:
        The content of ``features.json``.

    Raises:
        ConfigError: see ``public_names``; an unknown ``by``.
        DataError: see :func:`collect_features`; too few images or patients.
        StorageError: a file cannot be written.
    """
    if by not in ("group", "finding"):
        raise ConfigError(f"by is '{by}', but must be 'group' or 'finding'.")
    naming = identifiers or default_identifiers(cases)
    key = read_identifier_key(identifier_key_file)
    public_names(cases, naming, key)  # a missing key is found before minutes are spent
    found = collect_features(network, cases, scorer, synthesis, image_size, channels, seed, limit, batch_size)
    points = tsne(found.features, seed)
    content = {
        "model": model,
        "model_digest": model_digest or state_digest(network.encoder.state_dict()),
        "features": "CLS token after the final norm, before the head",
        "image_size": image_size,
        "data": data,
        "section": section,
        "split_digest": split_digest(cases),
        "limit": limit,
        "synthesis": repr(synthesis),
        "scorer_digest": state_digest(scorer.state_dict()),
        "seed": seed,
        "perplexity": perplexity_of(len(points)),
        "images": dict(Counter(found.groups)),
        "separability": pair_figures(found, seed),
        "warning": WARNING,
    }
    folder = Path(output_dir)
    picture = draw(points, picture_groups(found, by), _title(content), _caption(content))
    write_text(folder / COORDINATES, _table(found, points, *public_names(found.cases, naming, key)))
    write_text(folder / FIGURES, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    write_bytes(folder / PICTURE, picture)
    return content


def pair_figures(found: FeatureSet, seed: int = 0) -> list[dict[str, Any]]:
    """Separability of each two groups, by patient; beside real abnormal images what age, sex and view alone say."""
    groups, patients = np.asarray(found.groups), np.asarray([case.patient_id for case in found.cases])
    figures = []
    for pair in combinations(dict.fromkeys(found.groups), 2):
        rows = np.flatnonzero(np.isin(groups, pair))
        labels = groups[rows] == pair[1]
        entry: dict[str, Any] = {"groups": list(pair)}
        try:
            entry |= asdict(separability(found.features[rows], labels, patients[rows].tolist(), seed=seed))
            if pair == (NORMAL, ABNORMAL):
                scores = metadata_null([found.cases[row] for row in rows], seed=seed)
                entry["metadata_alone"] = exact_auroc(scores[labels], scores[~labels])
        except DataError as error:
            entry["reason"] = str(error)
        figures.append({name: _rounded(value) for name, value in entry.items()})
    return figures


def picture_groups(found: FeatureSet, by: By) -> list[str]:
    """Group of each image in the picture: of abnormal ones the finding, where types are to be told apart."""
    if by == "group":
        return list(found.groups)
    kinds = [
        (case.findings[0] if len(case.findings) == 1 else SEVERAL if case.findings else OTHER)
        if group == ABNORMAL
        else ""
        for group, case in zip(found.groups, found.cases, strict=True)
    ]
    counts = Counter(kind for kind in kinds if kind)
    if len(counts) > MAX_TYPES:
        shown = {kind for kind, _ in counts.most_common(MAX_TYPES - 1)} - {OTHER}
        kinds = [kind if not kind or kind in shown else OTHER for kind in kinds]
    return [kind or group for kind, group in zip(kinds, found.groups, strict=True)]


def figure_lines(content: dict[str, Any]) -> list[str]:
    """One line for each two groups, as the picture and the terminal show it."""
    lines = []
    for entry in content["separability"]:
        first, second = entry["groups"]
        if "reason" in entry:
            lines.append(f"{first} / {second}: no figure, {entry['reason']}")
            continue
        linear, neighbours = (
            f"{format_figure(entry[name])} (folds {format_figure(entry[f'{name}_range'][0])} to "
            f"{format_figure(entry[f'{name}_range'][1])})"
            for name in ("linear", "neighbours")
        )
        line = f"{first} / {second}: AUROC of a linear probe {linear}, of nearest neighbours {neighbours}"
        if "metadata_alone" in entry:
            line += f"; age, sex and view alone {format_figure(entry['metadata_alone'])}"
        lines.append(line)
    return lines


def _title(content: dict[str, Any]) -> str:
    return f"Features before the head, {content['model']}" if content["model"] else "Features before the head"


def _caption(content: dict[str, Any]) -> list[str]:
    drawn = (
        f"t-SNE, perplexity {content['perplexity']:.3g}, seed {content['seed']}; CLS token at "
        f"{content['image_size']} px; model {content['model_digest'][:12]}."
    )
    return [drawn, *figure_lines(content), WARNING]


def _table(found: FeatureSet, points: NDArray[np.float64], names: list[str], patients: list[str]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row, case in enumerate(found.cases):
        place = (f"{value:.4f}" for value in points[row])
        cells = (names[row], patients[row], found.groups[row], "|".join(case.findings))
        writer.writerow([*map(safe_cell, cells), *place])
    return stream.getvalue()


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 4)
    return [_rounded(part) for part in value] if isinstance(value, tuple) else value


def _numpy(values: Tensor) -> NDArray[np.float32]:
    return values.float().cpu().numpy()
