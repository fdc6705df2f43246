"""Metrics, null maps and axes in words."""

from __future__ import annotations

from vitad_med.evaluation.cohorts import ALL

METRICS = {
    "conditioned_auroc": (
        "Conditioned AUROC",
        "ranks within the image, compared between images at one position; maps that ignore the image score .5",
    ),
    "position_auroc": ("Position AUROC", "values at the same position, compared between images"),
    "pixel_auroc": (
        "Pooled pixel AUROC",
        "all pixels in one list, as papers report it; rewards knowing where abnormalities usually are",
    ),
    "pixel_ap": ("Pooled pixel AP", "average precision of all pixels in one list"),
    "mean_image_auroc": ("Mean AUROC of an image", "pixel AUROC within each image, then the mean"),
    "pointing_game": ("Pointing game", "share of images whose highest pixel lies in the truth"),
    "aupro": ("AUPRO to FPR .3", "mean overlap of each region, over the full score distribution"),
    "aupro_100": ("AUPRO, 100 thresholds", "the usual approximation, for comparison with papers"),
    "iou_fpr1": ("IoU at 1 % pixel FPR", "one threshold, set at a pixel false-positive rate of 1 % on normal images"),
    "iou_fpr5": ("IoU at 5 % pixel FPR", "likewise at 5 %"),
    "iou_fpr10": ("IoU at 10 % pixel FPR", "likewise at 10 %"),
    "iobb_fpr1": ("IoBB at 1 % pixel FPR", "intersection over the map's own bounding box, same threshold"),
    "iobb_fpr5": ("IoBB at 5 % pixel FPR", "likewise at 5 %"),
    "iobb_fpr10": ("IoBB at 10 % pixel FPR", "likewise at 10 %"),
    "froc_mean": ("FROC, mean sensitivity", "mean over 1/8, 1/4, 1/2, 1, 2, 4 and 8 false positives per normal image"),
    "froc_1": ("FROC at 1 false positive", "sensitivity at one false positive per normal image"),
    "image_auroc": ("Image AUROC", "the image score against the label"),
    "image_ap": ("Image AP", "average precision of the image score"),
    "image_auroc_conditioned": ("Image AUROC within view and age band", "pairs within one view and age band only"),
    "metadata_null_auroc": (
        "Metadata alone",
        "a model of age, sex and view that sees no pixel, fitted on other patients",
    ),
}
"""Metric -> (name, what it is), in the order of the tables."""

LOCALIZATION = tuple(
    name
    for name in METRICS
    if name not in ("image_auroc", "image_ap", "image_auroc_conditioned", "metadata_null_auroc")
)

NULL_MAPS = {
    "centre_blob": ("Centre blob", "the same bump in the middle of every image"),
    "box_prior": (
        "Box prior",
        "mean truth of the other patients; only its pooled figures mean anything",
    ),
    "brightness": ("Brightness", "the image itself"),
    "brightness_ranked": ("Brightness, ranked", "ranks of the intensities within each image"),
    "mirror_difference": ("Mirror difference", "the image minus its left-right mirror image"),
}

AXES = {"sex": "Sex", "view": "View", "age": "Age band", "finding": "Finding", "group": "Group"}
SEXES = {"M": "men", "F": "women"}
LABELS = {0: "normal", 1: "abnormal"}


def metric_name(metric: str) -> str:
    """A metric in words; a metric that is not known here by its own name."""
    return METRICS[metric][0] if metric in METRICS else metric


def null_key(null: str) -> tuple[str, bool]:
    """Key of a null map that a report names by its key or in words, and whether it is turned upside down."""
    base = null.removesuffix(" inverted")
    in_words = {words.lower(): key for key, (words, _) in NULL_MAPS.items()}
    return in_words.get(base.lower(), base), base != null


def null_name(null: str) -> str:
    """A null map in words, turned upside down or not."""
    name, inverted = null_key(null)
    words = NULL_MAPS[name][0] if name in NULL_MAPS else name
    return f"{words}, inverted" if inverted else words


def axis_name(axis: str) -> str:
    """A cohort axis in words."""
    return AXES.get(axis, axis[:1].upper() + axis[1:])


def axes_of(key: str) -> tuple[str, ...]:
    """Axes of a cohort key: ``sex=F,view=AP`` has sex and view; ``all`` has none."""
    return () if key == ALL else tuple(part.split("=")[0] for part in key.split(","))
