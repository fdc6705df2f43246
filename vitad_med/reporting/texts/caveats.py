"""What a reader must know before relying on a report, as sentences that follow from it."""

from __future__ import annotations

from collections.abc import Iterator

from vitad_med.reporting.document.document import ALL
from vitad_med.reporting.document.types import Report, ReportCohort
from vitad_med.reporting.document.wording import figure_text, sentence


def caveats(report: Report) -> Iterator[str]:
    """Plain sentences about what was not shown, not examined or too small, then the notes of the report."""
    whole = report["cohorts"][ALL]
    if whole["verdict"]["answer"] != "yes":
        yield "On all images it is not shown that the map localizes better than position and brightness alone."
    image, metadata = whole["image"]["image_auroc"], whole["image"]["metadata_null_auroc"]
    if image["value"] is not None and metadata["value"] is not None:
        # A cross-validated model errs below chance where metadata say nothing; to exceed that is no feat.
        lowest = whole["metadata_difference"]["low"], image["low"]
        if lowest[0] is None or lowest[0] <= 0 or lowest[1] is None or lowest[1] <= 0.5:
            yield (
                f"The image AUROC {figure_text(image)} is not shown to exceed what age, sex and view alone reach, "
                f"{figure_text(metadata)}: it may not come from the images."
            )
        yield "An image AUROC above the metadata alone can still tell when and how images were taken, not disease."
    unscored = [cohort["name"] for cohort in report["cohorts"].values() if _unscored(cohort)]
    if unscored:
        yield f"Too small to be scored: {'; '.join(unscored)}. Nothing is known about the model there."
    if report["operating_point"] is None:
        yield "No threshold was set: alarms, sensitivity and predictive values are unknown."
    if report["drift"] is not None:
        yield f"Drift against the calibration: {sentence(report['drift']['sentence'])}"
    else:
        yield "Drift was not examined."
    yield from report["notes"]


def _unscored(cohort: ReportCohort) -> bool:
    figures = (cohort["image"]["image_auroc"], cohort["localization"]["conditioned_auroc"])
    return all(figure["value"] is None for figure in figures)
