"""Reader of a plain folder of images, for training on one's own normals and for scoring images without labels."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Literal

from vitad_med.data.case import Case
from vitad_med.data.folders import dataset_folder, images_in
from vitad_med.data.splits import check_section, section_of
from vitad_med.errors import DataError

SOURCE = "image_folder"
Section = Literal["train", "val", "test", "all"]


def read_image_folder(
    dataset_dir: str | Path, *, section: Section = "test", val_fraction: float = 0.0, split_seed: int = 0
) -> list[Case]:
    """Read every image of a folder and of the folders in it.

    Nothing is known of the images: all have label 0, for training they are taken as normal. The first folder below
    ``dataset_dir`` stands for the patient, with any folders of studies in it; images directly in ``dataset_dir`` are a
    patient each. Hidden folders are left out.

    Args:
        dataset_dir: folder of PNG, JPEG, TIFF or BMP files.
        section: ``train`` all but the held-out patients, ``val`` those, ``test`` and ``all`` everything.
        val_fraction: part of the patients that is held out.
        split_seed: another seed holds out others.

    Returns:
        Cases sorted by case_id, which is the path below ``dataset_dir`` without suffix.

    Raises:
        DataError: a wrong folder, no image in it, or two images of one name.
        ConfigError: an unknown section, or ``val`` without a fraction.
    """
    check_section(section, val_fraction)
    root = dataset_folder(dataset_dir)
    below = (path for path in root.rglob("*") if path.is_dir())
    visible = [path for path in below if not any(part.startswith(".") for part in path.relative_to(root).parts)]
    folders = [root, *sorted(visible)]
    cases = []
    for folder in folders:
        for path in images_in(folder):
            case_id = path.relative_to(root).with_suffix("").as_posix()
            patient = case_id if folder == root else folder.relative_to(root).parts[0]
            cases.append(Case(case_id, patient, path, SOURCE, "test", label=0))
    if not cases:
        raise DataError(f"dataset_dir {root} holds no PNG, JPEG, TIFF or BMP image.")
    cases.sort(key=lambda case: case.case_id)
    for first, second in pairwise(cases):
        if first.case_id == second.case_id:
            raise DataError(
                f"{first.image_path} and {second.image_path.name} differ only in their suffix, so their results would "
                "have one name: keep one of them, or rename it."
            )
    return section_of(cases, section, val_fraction, split_seed)
