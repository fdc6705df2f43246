"""Names of the files and columns of a run on disk; `docs/predictions_format.md` describes them."""

from __future__ import annotations

FOLDER = "predictions"
TABLE = "predictions.csv"
BOX_TABLE = "boxes.csv"
JOURNAL = "run.json"
MAPS = "maps"
IMAGES = "images"
MASKS = "masks"

MAP_SUFFIXES = (".npy", ".png", ".nii.gz", ".nii")
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")

COLUMNS = (
    "image",
    "patient",
    "score",
    "label",
    "sex",
    "view",
    "age",
    "findings",
    "source",
    "group",
    "split",
    "map",
    "image_file",
    "mask",
)
REQUIRED = ("image", "score")
BOX_COLUMNS = ("image", "finding", "x", "y", "width", "height")
BOX_REQUIRED = ("image", "x", "y", "width", "height")

# Names with a meaning of their own in cohort keys and in the tables of a report.
RESERVED = frozenset(
    {"all", "finding", "age_band", "case_id", "patient_id", "p_value", "flagged", "localized", "pixel_auroc"}
    | {"pointing_hit"}
)
FINDING_SEPARATOR = "|"
NO_FINDING = "No Finding"
