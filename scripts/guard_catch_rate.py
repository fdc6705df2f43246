"""How often the guard of test-time adaptation notices a loss, and how often it cries wolf.

    python scripts/guard_catch_rate.py outputs/tta outputs/tta_shifts [--out guard.md]

Reads the folders of `vitad-med experiment run` on experiments in which the guard observes (``guard: observe``), so that
every loss ran its course. The guard sees no label of the stream; this script does:

- a stream was *lost* when the image AUROC of the adapted model lies below that of the source model on the same images,
  by a 95 % interval of the paired difference that clusters images by patient (DeLong, Obuchowski), *gained* when above;
- the guard *caught* it when any of its readings was outside the range.

Streams with one class of images have no AUROC and are left out; a stream that two experiments share counts once.
Streams at another learning rate than ``--rate`` are shown and not counted. The rates are counts without intervals:
streams share their images and source model, and readings of a stream follow one another, so no binomial interval holds.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vitad_med.adaptation.audit import read_audit
from vitad_med.checkpoint import atomic_path
from vitad_med.digests import file_digest
from vitad_med.metrics.clustered import delong_clustered_covariance

NORMAL_QUANTILE = 1.959964


@dataclass(frozen=True)
class Stream:
    """One adapted stream: AUROC of source and adapted model, their paired difference, and what the guard read."""

    title: str
    digest: str
    mode: str
    rate: float
    shift: str
    source: float
    adapted: float
    low: float
    high: float
    readings: int
    alarms: int
    first: int | None

    @property
    def outcome(self) -> str:
        if self.high < 0:
            return "lost"
        return "gained" if self.low > 0 else "no difference shown"


def streams(folder: Path) -> Iterator[Stream]:
    """Every finished adaptation of an experiment whose guard only observed, each once."""
    results = json.loads((folder / "results.json").read_text())["results"]
    titles: dict[str, str] = {}
    for result in results:
        titles.setdefault(result["step"], f"{result['row']}, {result['data']}, seed {result['seed']}")
    for step, title in titles.items():
        place = folder / "steps" / step
        if not (place / "done.json").is_file() or not (place / "adaptation.json").is_file():
            continue
        summary = json.loads((place / "adaptation.json").read_text())
        if summary["guard"] != "observe" or not summary["readings"]:
            continue
        with (place / "images.csv").open(newline="") as file:
            images = {row["case_id"]: row for row in csv.DictReader(file)}
        with (place / "scores.csv").open(newline="") as file:
            scores = [row for row in csv.DictReader(file) if row["image"] in images]
        labels = [int(images[row["image"]]["label"]) for row in scores]
        if len(set(labels)) < 2:
            continue
        patients = [images[row["image"]]["patient_id"] for row in scores]
        both = np.array([[float(row[name]) for row in scores] for name in ("source", "after_step")])
        aurocs, covariance = delong_clustered_covariance(both, labels, patients)
        variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
        half = NORMAL_QUANTILE * float(np.sqrt(max(0.0, variance)))
        difference = float(aurocs[1] - aurocs[0])
        steps = [line for line in last_run(place / "audit.jsonl") if line["event"] == "step"]
        outside = [line["step"] for line in steps if line["guard"] and line["reason"]]
        yield Stream(
            title,
            file_digest(place / "scores.csv"),
            summary["mode"],
            summary["learning_rate"],
            summary["shift"],
            float(aurocs[0]),
            float(aurocs[1]),
            difference - half,
            difference + half,
            summary["readings"],
            summary["alarms"],
            outside[0] + 1 if outside else None,
        )


def last_run(audit: Path) -> list[dict[str, Any]]:
    """Lines of the run that the results are of, from its last ``start`` on: the log keeps those of runs before it."""
    lines = read_audit(audit)
    starts = [number for number, line in enumerate(lines) if line["event"] == "start"]
    return lines[starts[-1] :] if starts else lines


def report(found: list[Stream], rate: float) -> str:
    """Markdown: a line a stream, then counts over those that adapted at the rate ``rate``."""
    lines = [
        "| stream | source | adapted | difference | outcome | readings outside | first at update |",
        "|---|---|---|---|---|---|---|",
    ]
    for s in found:
        difference = f"{s.adapted - s.source:+.3f} [{s.low:+.3f}, {s.high:+.3f}]"
        first = "" if s.first is None else str(s.first)
        lines.append(
            f"| {s.title} | {s.source:.3f} | {s.adapted:.3f} | {difference} | {s.outcome} | {s.alarms} of {s.readings} "
            f"| {first} |"
        )
    counted = [s for s in found if s.rate == rate]
    lost = [s for s in counted if s.outcome == "lost"]
    other = [s for s in counted if s.outcome != "lost"]
    unshifted = [s for s in counted if s.shift == "none" and s.mode == "online"]
    lines += [
        "",
        f"Of the {len(counted)} streams at a learning rate of {rate:g}:",
        "",
        f"- lost streams that the guard caught: {sum(s.alarms > 0 for s in lost)} of {len(lost)}",
        "- streams not lost on which a reading was outside (the model had changed where this list does not show it, or "
        f"the guard cried wolf): {sum(s.alarms > 0 for s in other)} of {len(other)}",
        "- readings outside the range on unshifted online streams: "
        f"{sum(s.alarms for s in unshifted)} of {sum(s.readings for s in unshifted)}",
        "- no intervals: streams share images and source model, and readings of one stream follow one another, so they "
        "are not independent",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="--out of `vitad-med experiment run`")
    parser.add_argument("--out", type=Path, help="also write the Markdown there")
    parser.add_argument(
        "--rate", type=float, default=5e-4, help="learning rate of the streams that are counted (default: %(default)g)"
    )
    options = parser.parse_args()
    seen: dict[str, Stream] = {}
    for folder in options.folders:
        for stream in streams(folder):
            seen.setdefault(stream.digest, stream)  # experiments share streams
    text = report(list(seen.values()), options.rate)
    print(text, end="")
    if options.out is not None:
        with atomic_path(options.out) as temporary:
            temporary.write_text(text)


if __name__ == "__main__":
    main()
