"""Check a data set before it is used: `check_dataset` is what ``vitad-med data check DIR`` runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from vitad_med.data import chestxray14_tables as tables
from vitad_med.data.case import Case
from vitad_med.data.chestxray14_checks import check_chestxray14
from vitad_med.data.folders import dataset_folder, images_in
from vitad_med.data.image_checks import decode_all, image_problems
from vitad_med.data.mvtec import GOOD, categories_in, chosen_categories, read_mvtec
from vitad_med.data.report import DataReport, Problem, SummaryRow, sorted_problems
from vitad_med.data.splits import split_digest
from vitad_med.errors import ConfigError, DataError

__all__ = ["KINDS", "check_chestxray14", "check_dataset", "check_mvtec"]

Kind = Literal["auto", "chestxray14", "mvtec"]
KINDS = ("auto", "chestxray14", "mvtec")


def check_dataset(
    dataset_dir: str | Path, kind: Kind = "auto", *, decode: bool = True, category: str | Sequence[str] = "all"
) -> DataReport:
    """Check a data set of a known layout.

    Args:
        dataset_dir: the folder.
        kind: ``auto`` looks at what lies in the folder.
        decode: decode every image (a 1024 px file takes about 11 ms a core) rather than only look for it.
        category: of MVTec AD.

    Raises:
        DataError: there is nothing to check: a wrong or empty folder, a missing or malformed table.
        ConfigError: an unknown kind.
    """
    if kind not in KINDS:
        raise ConfigError(f"kind is {kind!r}; use one of {', '.join(KINDS)}.")
    if kind == "auto":
        kind = detect_kind(dataset_folder(dataset_dir))
    if kind == "chestxray14":
        return check_chestxray14(dataset_dir, decode=decode)
    return check_mvtec(dataset_dir, decode=decode, category=category)


def detect_kind(root: Path) -> Literal["chestxray14", "mvtec"]:
    """Which reader fits the folder; DataError when none does."""
    names = {entry.name for entry in root.iterdir()}
    known = {*tables.ENTRY_TABLES, tables.BOX_TABLE, tables.TRAIN_VAL_LIST, tables.TEST_LIST}
    if names & (known | {f"{name}.gz" for name in known}) or any(name.startswith("images") for name in names):
        return "chestxray14"
    if categories_in(root) or (root / "train" / GOOD).is_dir():
        return "mvtec"
    raise DataError(
        f"{root} looks like neither ChestX-ray14 (images/, Data_Entry_2017.csv, lists) nor MVTec AD "
        f"(<category>/train/{GOOD}); give the folder that holds these."
    )


def check_mvtec(dataset_dir: str | Path, *, decode: bool = True, category: str | Sequence[str] = "all") -> DataReport:
    """Check a data set in the layout of MVTec AD: its images, and masks missing, without image, empty, of another size.

    Raises:
        DataError: a wrong folder, an unknown category, or a category without images.
    """
    root = dataset_folder(dataset_dir)
    cases = read_mvtec(root, category=category, require_masks=False)
    problems = _mask_file_problems(root, cases, category)
    decoded = 0
    if decode:
        facts = decode_all([case.image_path for case in cases])
        decoded = len(facts)
        problems += image_problems(facts, {case.image_path: f"{case.group}/{case.split}" for case in cases})
        problems += _mask_pixel_problems(cases, {fact.path: fact.shape[-2:] for fact in facts if fact.error is None})
    return DataReport(root, "mvtec", _summary(cases), sorted_problems(problems), split_digest(cases), decoded)


def _summary(cases: list[Case]) -> tuple[SummaryRow, ...]:
    rows = []
    for group, split in sorted({(case.group, case.split) for case in cases}, key=lambda cell: (cell[0], cell[1])):
        cell = [case for case in cases if (case.group, case.split) == (group, split)]
        abnormal = sum(case.label for case in cell)
        rows.append(
            SummaryRow(
                split=split,
                group=group,
                sex="",
                view="",
                images=len(cell),
                patients=len({case.patient_id for case in cell}),
                normal=len(cell) - abnormal,
                abnormal=abnormal,
                localized=sum(case.localized for case in cell),
            )
        )
    return tuple(rows)


def _mask_file_problems(root: Path, cases: list[Case], category: str | Sequence[str]) -> list[Problem]:
    problems = []
    lacking = [str(case.image_path) for case in cases if case.label and case.mask_path is None]
    if lacking:
        problems.append(Problem("error", "missing_mask", "abnormal test images without a mask", tuple(lacking)))
    used = {case.mask_path for case in cases}
    orphans = [
        str(file)
        for name in chosen_categories(root, category)
        for folder in sorted((root / name / "ground_truth").glob("*/"))
        for file in images_in(folder)
        if file not in used
    ]
    if orphans:
        problems.append(Problem("warning", "orphan_mask", "masks without an image", tuple(orphans)))
    return problems


def _mask_pixel_problems(cases: list[Case], image_sizes: dict[Path, tuple[int, ...]]) -> list[Problem]:
    image_of = {case.mask_path: case.image_path for case in cases if case.mask_path is not None}
    unreadable, empty, other_size = [], [], []
    for fact in decode_all(list(image_of)):
        if fact.error is not None:
            unreadable.append(fact.error)
            continue
        if fact.constant == 0:
            empty.append(str(fact.path))
        size = image_sizes.get(image_of[fact.path])
        if size is not None and size != fact.shape[-2:]:
            other_size.append(str(fact.path))
    found = (
        ("unreadable_mask", "masks that cannot be read", unreadable),
        ("empty_mask", "masks that mark no pixel", empty),
        ("mask_size", "masks of another size than their image", other_size),
    )
    return [Problem("error", code, text, tuple(items)) for code, text, items in found if items]
