"""Checks of a ChestX-ray14 folder: everything that is wrong at once, where the reader stops at the first error."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from vitad_med.data import chestxray14_tables as tables
from vitad_med.data.case import UNKNOWN
from vitad_med.data.chestxray14 import image_files, image_paths
from vitad_med.data.folders import dataset_folder
from vitad_med.data.image_checks import decode_all, image_problems
from vitad_med.data.report import DataReport, Problem, Severity, SummaryRow, sorted_problems
from vitad_med.data.splits import split_digest_of_rows

BOX_TOLERANCE = 1 / tables.BOX_UNITS  # a box may end one pixel of the release beyond the edge: rounding
SPLIT_ORDER = {"train": 0, "test": 1}
ALL = "all"


def check_chestxray14(dataset_dir: str | Path, *, decode: bool = True, require_images: bool = True) -> DataReport:
    """Check tables, lists, boxes and image files.

    Args:
        dataset_dir: a folder in the layout of `vitad_med.data.chestxray14`.
        decode: decode every listed image: finds truncated, constant and repeated ones.
        require_images: False checks the tables alone.

    Returns:
        A report over the images of both lists; its split digest equals `split_digest` of
        ``read_chestxray14(dataset_dir, section="all")`` where that can be read.

    Raises:
        DataError: a wrong folder, or a missing or malformed table.
    """
    root = dataset_folder(dataset_dir)
    entries = tables.read_entries(tables.find_table(root, *tables.ENTRY_TABLES))
    lists = {
        "train": tables.read_list(tables.find_table(root, tables.TRAIN_VAL_LIST)),
        "test": tables.read_list(tables.find_table(root, tables.TEST_LIST)),
    }
    boxes = tables.read_boxes(tables.find_table(root, tables.BOX_TABLE))
    unique = entries.drop_duplicates("stem").set_index("stem")
    listed = pd.concat(
        [unique.loc[unique.index.isin(stems)].assign(split=split) for split, stems in lists.items()]
    ).reset_index()
    listed["localized"] = listed["stem"].isin(boxes["stem"])
    listed["label"] = ((listed["findings"] != tables.NO_FINDING) | listed["localized"]).astype(int)

    problems = _entry_problems(entries) + _list_problems(unique, lists, listed) + _box_problems(boxes, unique, lists)
    decoded = 0
    if require_images:
        paths = image_paths(root)
        problems += _file_problems(root, paths, listed)
        if decode:
            splits = {paths[s]: split for s, split in zip(listed["stem"], listed["split"], strict=True) if s in paths}
            facts = decode_all(list(splits))
            decoded = len(facts)
            problems += image_problems(facts, splits)
    digest = split_digest_of_rows(
        zip(*(listed[column].tolist() for column in ("split", "stem", "patient_id", "label")), strict=True)
    )
    return DataReport(root, "chestxray14", _summary(listed), sorted_problems(problems), digest, decoded)


def _entry_problems(entries: pd.DataFrame) -> list[Problem]:
    problems: list[Problem] = []
    repeated = entries[entries["stem"].duplicated(keep=False)]
    contradictory = repeated.loc[~repeated.duplicated(keep=False), "name"]
    _add(problems, "error", "duplicate_rows", "images with more than one row in the Data_Entry table", repeated["name"])
    _add(problems, "error", "contradictory_rows", "images whose repeated rows contradict each other", contradictory)
    old = entries[entries["age"] > tables.OLDEST_AGE]
    items = old["name"] + ": " + old["age"].astype(str)
    text = f"images with an age above {tables.OLDEST_AGE:g} years, which is read as unknown"
    _add(problems, "warning", "impossible_age", text, items)
    for column in ("sex", "view"):
        unknown = entries.loc[entries[column] == UNKNOWN, "name"]
        _add(problems, "warning", f"unknown_{column}", f"images without a known {column}", unknown)
    unknown = entries.loc[entries["age"].isna(), "name"]
    _add(problems, "warning", "unknown_age", "images without an age", unknown)
    sexes = entries[entries["sex"] != UNKNOWN].groupby("patient_id")["sex"].nunique()
    _add(problems, "warning", "changing_sex", "patients with rows of both sexes", sexes[sexes > 1].index)
    return problems


def _list_problems(unique: pd.DataFrame, lists: dict[str, list[str]], listed: pd.DataFrame) -> list[Problem]:
    problems: list[Problem] = []
    for split, stems in lists.items():
        name = tables.TRAIN_VAL_LIST if split == "train" else tables.TEST_LIST
        series = pd.Series(stems)
        text = f"images of {name} without a row in the Data_Entry table"
        _add(problems, "error", "list_without_row", text, series[~series.isin(unique.index)])
        _add(problems, "warning", "repeated_in_list", f"repeated lines of {name}", series[series.duplicated()])
        mine = listed[listed["split"] == split]
        if split == "train":
            mine = mine[mine["findings"] == tables.NO_FINDING]
        if mine.empty:
            problems.append(Problem("error", "no_patient", f"{name} leaves no {_needed(split)} and so no patient."))
    patients = {split: set(listed.loc[listed["split"] == split, "patient_id"]) for split in lists}
    leak = sorted(patients["train"] & patients["test"])
    _add(problems, "error", "patient_leak", "patients in both the train_val list and the test list", leak)
    unlisted = unique.index[~unique.index.isin(listed["stem"])]
    _add(problems, "warning", "unlisted", "rows of the Data_Entry table in neither list", unlisted)
    return problems


def _needed(split: str) -> str:
    return '"No Finding" image' if split == "train" else "image"


def _box_problems(boxes: pd.DataFrame, unique: pd.DataFrame, lists: dict[str, list[str]]) -> list[Problem]:
    problems: list[Problem] = []
    items = boxes["stem"] + " " + boxes["finding"]
    right, bottom = boxes["x"] + boxes["width"], boxes["y"] + boxes["height"]
    outside = (boxes["x"] >= 1) | (boxes["y"] >= 1) | (right <= 0) | (bottom <= 0)
    empty = (boxes["width"] <= 0) | (boxes["height"] <= 0)
    beyond = (boxes[["x", "y"]].min(axis=1) < -BOX_TOLERANCE) | (
        pd.concat([right, bottom], axis=1).max(axis=1) > 1 + BOX_TOLERANCE
    )
    _add(problems, "error", "box_outside", "boxes that lie outside their image or have no area", items[outside | empty])
    text = "boxes that reach beyond the edge of their image, where they are cut"
    _add(problems, "warning", "box_beyond_edge", text, items[beyond & ~outside & ~empty])
    _add(problems, "warning", "duplicate_boxes", "repeated boxes", items[boxes.duplicated()])
    known = boxes["stem"].isin(unique.index)
    _add(problems, "warning", "box_without_row", "boxes of images without a row in the Data_Entry table", items[~known])
    training = boxes["stem"].isin(lists["train"])
    _add(problems, "warning", "box_in_training", "boxes of images of the train_val list", items[training])
    labels = boxes["stem"].map(unique["findings"]).fillna("")
    normal = known & (labels == tables.NO_FINDING)
    _add(problems, "error", "box_on_normal", "boxes on images labelled No Finding", items[normal])
    pairs = zip(boxes["finding"], labels, strict=True)
    unnamed = pd.Series([finding not in text.split("|") for finding, text in pairs], index=boxes.index, dtype=bool)
    text = "boxes of a finding that the image's labels do not name"
    _add(problems, "warning", "box_not_in_labels", text, items[unnamed & known & ~normal])
    return problems


def _file_problems(root: Path, paths: dict[str, Path], listed: pd.DataFrame) -> list[Problem]:
    problems: list[Problem] = []
    present = listed["stem"].isin(paths)
    _add(problems, "error", "missing_file", "listed images without a file", listed.loc[~present, "name"])
    stray = sorted(set(paths) - set(listed["stem"]))
    _add(problems, "warning", "unlisted_file", "image files in neither list", [str(paths[stem]) for stem in stray])
    shadowed = [str(file) for file in image_files(root) if paths[file.stem] != file]
    _add(problems, "warning", "several_files", "files ignored because another has the same stem", shadowed)
    suffixes = {paths[stem].suffix.lower() for stem in listed.loc[present, "stem"]}
    if len(suffixes) > 1:
        text = f"File formats are mixed ({', '.join(sorted(suffixes))}); encoding must not tell normal from abnormal."
        problems.append(Problem("warning", "mixed_formats", text))
    return problems


def _summary(listed: pd.DataFrame) -> tuple[SummaryRow, ...]:
    """One row for each split, sex and view, then one for the whole split: patients do not add up over views."""
    whole = listed.assign(sex=ALL, view=ALL)
    rows = []
    for part in (listed, whole):
        for split, sex, view in part[["split", "sex", "view"]].drop_duplicates().itertuples(index=False, name=None):
            cell = part[(part["split"] == split) & (part["sex"] == sex) & (part["view"] == view)]
            abnormal = int(cell["label"].sum())
            rows.append(
                SummaryRow(
                    split=split,
                    group="",
                    sex=sex,
                    view=view,
                    images=len(cell),
                    patients=cell["patient_id"].nunique(),
                    normal=len(cell) - abnormal,
                    abnormal=abnormal,
                    localized=int(cell["localized"].sum()),
                )
            )
    return tuple(sorted(rows, key=lambda row: (SPLIT_ORDER[row.split], row.sex == ALL, row.sex, row.view)))


def _add(
    problems: list[Problem], severity: Severity, code: str, text: str, items: pd.Series | pd.Index | list[str]
) -> None:
    if len(items):
        found = tuple(dict.fromkeys(items))
        problems.append(Problem(severity, code, text, found))
