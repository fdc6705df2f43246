"""Reader of MVTec AD (Bergmann et al., CVPR 2019) and of any data set in its layout.

Expected: ``<dataset_dir>/<category>/train/good/*.png``, ``test/good/*.png``, ``test/<defect>/*.png`` and
``ground_truth/<defect>/<stem>_mask.png`` (0 normal, 255 abnormal). Images may have one or three channels and any size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from vitad_med.data.case import Case, Split
from vitad_med.data.folders import dataset_folder, images_in
from vitad_med.data.splits import hold_out_patients
from vitad_med.errors import ConfigError, DataError

SOURCE = "mvtec"
GOOD = "good"
Section = Literal["train", "val", "test", "all"]
SECTIONS = ("train", "val", "test", "all")


def read_mvtec(
    dataset_dir: str | Path,
    *,
    section: Section = "all",
    category: str | Sequence[str] = "all",
    val_fraction: float = 0.0,
    split_seed: int = 0,
    require_masks: bool = True,
) -> list[Case]:
    """Read the records of one section.

    Args:
        dataset_dir: the folder that holds the category folders.
        section: ``train``: ``train/good`` less the held-out images; ``val``: the held-out images of ``train/good``;
            ``test``: everything under ``test``; ``all``: the three together.
        category: one name, several, or ``all`` for every category found.
        val_fraction: part of each category's ``train/good`` that is held out.
        split_seed: another seed holds out other images.
        require_masks: False leaves `mask_path` None where a mask is missing; such an image takes no part in
            localization metrics.

    Returns:
        Cases sorted by case_id, at least one. `case_id` is e.g. ``screw/test/thread_top/003``; `patient_id` equals it;
        `findings` is the defect's name; `group` is the category.

    Raises:
        DataError: a wrong folder, an unknown category, a category without images, or an abnormal test image without
            its mask.
        ConfigError: an option has an unknown value.
    """
    if section not in SECTIONS:
        raise ConfigError(f"section is {section!r}; use one of {', '.join(SECTIONS)}.")
    if section == "val" and val_fraction == 0:
        raise ConfigError("section 'val' needs a val_fraction above 0; MVTec AD publishes no validation images.")
    root = dataset_folder(dataset_dir)
    cases: list[Case] = []
    for name in chosen_categories(root, category):
        normal = _cases_in(root / name / "train" / GOOD, root, "train")
        kept, held = hold_out_patients(normal, val_fraction, split_seed)
        if section in ("train", "all"):
            cases += kept
        if section in ("val", "all"):
            cases += [replace(case, split="val") for case in held]
        if section in ("test", "all"):
            cases += _test_cases(root, name, require_masks)
    return sorted(cases, key=lambda case: case.case_id)


def categories_in(root: Path) -> list[str]:
    """Names of the folders in `root` that have a ``train/good`` folder, sorted."""
    return sorted(folder.name for folder in root.iterdir() if (folder / "train" / GOOD).is_dir())


def count_abnormal_training_images(dataset_dir: str | Path, category: str | Sequence[str] = "all") -> int:
    """Images in folders beside ``train/good``, which the layout does not have: they are not trained on."""
    root = dataset_folder(dataset_dir)
    folders = [path for name in chosen_categories(root, category) for path in (root / name / "train").iterdir()]
    return sum(len(images_in(folder)) for folder in folders if folder.is_dir() and folder.name != GOOD)


def chosen_categories(root: Path, category: str | Sequence[str]) -> list[str]:
    """Category names that `category` stands for; DataError when one is not there."""
    if not isinstance(category, str) and not (
        isinstance(category, Sequence) and all(isinstance(name, str) for name in category)
    ):
        raise ConfigError(f"category is {category!r}; give a category's name, a list of names, or 'all'.")
    found = categories_in(root)
    if not found:
        if (root / "train" / GOOD).is_dir():
            whole = root.resolve()
            raise DataError(f"{whole} is itself a category; give {whole.parent} and category={whole.name}.")
        raise DataError(f"{root} has no category folder with train/{GOOD} in it; it is not in the layout of MVTec AD.")
    if category == "all":
        return found
    wanted = [category] if isinstance(category, str) else list(dict.fromkeys(category))
    if not wanted:
        raise ConfigError("category is an empty list; name at least one category, or use 'all'.")
    for name in wanted:
        if name not in found:
            raise DataError(f"{root} has no category {name!r}; it has {', '.join(found)}.")
    return wanted


def mask_path_of(root: Path, category: str, defect: str, stem: str) -> Path:
    """Where the mask of a defective test image lies."""
    return root / category / "ground_truth" / defect / f"{stem}_mask.png"


def _cases_in(folder: Path, root: Path, split: Split) -> list[Case]:
    files = images_in(folder) if folder.is_dir() else []
    if not files:
        raise DataError(f"{folder} has no image; each category needs train/{GOOD} and folders under test.")
    cases = []
    for file in files:
        case_id = file.relative_to(root).with_suffix("").as_posix()
        cases.append(Case(case_id, case_id, file, SOURCE, split, label=0, group=folder.relative_to(root).parts[0]))
    return cases


def _test_cases(root: Path, category: str, require_masks: bool) -> list[Case]:
    test = root / category / "test"
    defects = sorted(folder.name for folder in test.iterdir() if folder.is_dir()) if test.is_dir() else []
    if not defects:
        raise DataError(f"{test} has no folder of test images; category {category} cannot be evaluated.")
    cases = []
    for defect in defects:
        normal = _cases_in(test / defect, root, "test")
        if defect == GOOD:
            cases += normal
        else:
            cases += [_defective(case, defect, root, require_masks) for case in normal]
    return cases


def _defective(case: Case, defect: str, root: Path, require_masks: bool) -> Case:
    mask = mask_path_of(root, case.group, defect, case.image_path.stem)
    if require_masks and not mask.is_file():
        folder = root / case.group / "ground_truth"
        if not folder.is_dir():
            raise DataError(f"Category {case.group} has no masks: {folder} does not exist; copy or download it again.")
        raise DataError(f"Mask {mask} of {case.image_path} is missing; copy or download it again.")
    return replace(case, label=1, findings=(defect,), mask_path=mask if mask.is_file() else None)
