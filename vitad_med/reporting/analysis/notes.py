"""What a reader must know to read the figures, in plain sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vitad_med.metrics.pixel_threshold import RATES
from vitad_med.reporting.analysis.localized import THRESHOLD_IMAGES
from vitad_med.reporting.analysis.settings import ReportSettings


def notes(
    report: Mapping[str, Any],
    settings: ReportSettings,
    *,
    skipped_nulls: bool,
    assumed: Sequence[str],
    calibrated_on_itself: bool,
) -> list[str]:
    """Sentences about this very report; what holds for every report stands on the page itself.

    Args:
        report: the other blocks of report.json.
        settings: of the report.
        skipped_nulls: the localized images were not given, so that null maps made of them could not be scored.
        assumed: what reading the predictions had to assume.
        calibrated_on_itself: the calibration comes from the very data of the run.
    """
    said = [
        "Image figures can be confounded: an image AUROC that does not exceed the metadata null says nothing about the "
        "images, and one that does may still tell when and how they were taken rather than disease.",
        f"Maps are compared on a grid of {report['settings']['eval_size']} x {report['settings']['eval_size']} pixels; "
        f"pixel score: {settings.pixel_score.replace('_', ' ')}.",
        f"Thresholds of IoU and IoBB are set at pixel false-positive rates of {_rates()} on the normal images "
        f"(of more than {THRESHOLD_IMAGES:,} on a regular sample of them), the same for every cohort and replicate; "
        f"FROC candidates are regions above the threshold at {RATES[-1]:.0%}.".replace("%", " %"),
        f"Intervals are {settings.level:.0%} over {settings.replicates:,} patient-clustered bootstrap "
        "replicates, on the logit scale with t quantiles; of differences, expanded percentiles. None is given for "
        f"fewer than {report['settings']['interval_patients']} patients in a class that the figure needs.".replace(
            "%", " %"
        ),
        f"Cells of fewer than {settings.min_patients} patients in such a class are named and not scored.",
        "Verdicts of cohorts are corrected for the number of null maps and not for the number of cohorts: read "
        "those of single cohorts as hints.",
        "A metadata null under .5 found nothing and counts as .5; its interval holds the fitted models fixed.",
        "Box-size and position effects follow from the images' truth; the picture's left is the patient's right in a "
        "usual frontal view.",
    ]
    if skipped_nulls:
        said.append(
            "The images were not given, so the null maps made of them (brightness, mirror difference) are missing, and "
            "no verdict can be 'yes'."
        )
    if calibrated_on_itself:
        said.append(
            "The calibration was made on the data of this very run: its p-values and false-positive rates are not "
            "those of new patients."
        )
    if report["flow"]["not_localized"]["images"]:
        said.append("Abnormal images without a box or mask enter image figures only.")
    if any("unknown" in key for key in report["cohorts"]):
        said.append("Images whose value of an axis is not known form the cohort 'unknown' of that axis.")
    if not report["data"]["public"]:
        said.append(
            "Identifiers are keyed hashes, and counts of fewer than "
            f"{settings.min_patients} patients are not told. Text burned into an image is not removed by either."
        )
    return [*said, *assumed]


def _rates() -> str:
    return ", ".join(f"{rate * 100:g}" for rate in RATES[:-1]) + f" and {RATES[-1] * 100:g}%"
