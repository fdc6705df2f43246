"""Reader of NIH ChestX-ray14 (Wang et al., CVPR 2017) in its official layout.

Expected in `dataset_dir`: images under ``images/`` or ``images_001/images/`` .. ``images_012/images/`` (any size, PNG
or JPEG under the official stem), ``Data_Entry_2017_v2020.csv`` or ``Data_Entry_2017.csv``, ``BBox_List_2017.csv``,
``train_val_list.txt`` and ``test_list.txt`` (each also as ``.gz``).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import pandas as pd

from vitad_med.data import chestxray14_tables as tables
from vitad_med.data.case import Box, Case
from vitad_med.data.folders import dataset_folder, images_in
from vitad_med.data.splits import held_out_ids
from vitad_med.errors import ConfigError, DataError

SOURCE = "nih_chestxray14"
Section = Literal["train", "val", "test", "all"]
SECTIONS = ("train", "val", "test", "all")


def read_chestxray14(
    dataset_dir: str | Path,
    *,
    section: Section = "all",
    sex: str | None = None,
    view: str | None = None,
    age: Sequence[float] | None = None,
    val_fraction: float = 0.0,
    split_seed: int = 0,
    require_images: bool = True,
) -> list[Case]:
    """Read the records of one section.

    Args:
        dataset_dir: the folder described above.
        section: ``train``: the "No Finding" images of the train_val list, less the held-out patients; ``val``: the "No
            Finding" images of the held-out patients; ``test``: every image of the test list; ``all``: every image of
            both lists, abnormal training images included.
        sex: keep ``M`` or ``F`` only.
        view: keep ``PA`` or ``AP`` only.
        age: keep (youngest, oldest) years, both included; an unknown age is left out.
        val_fraction: part of the patients with a "No Finding" image in the train_val list that is held out. The choice
            is made before sex, view and age are applied, so every cohort shares it.
        split_seed: another seed holds out other patients.
        require_images: False reads the tables alone; `image_path` then says where a missing file would lie.

    Returns:
        Cases sorted by case_id, at least one. `case_id` is the file's stem, `patient_id` has eight digits, `findings`
        are spelled as in the entry table, boxes are fractions of the image. An impossible age is None.

    Raises:
        DataError: a wrong folder, a missing or malformed table, a list that names an image without a row or a file, a
            patient in both lists, or nobody left after the options.
        ConfigError: an option has an unknown value.
    """
    _check_options(section, sex, view, age, val_fraction)
    root = dataset_folder(dataset_dir)
    entries = _read_unique_entries(root)
    chosen = _assign_splits(root, entries, section, val_fraction, split_seed)
    chosen = _filter(chosen, sex, view, age)
    if chosen.empty:
        options = {"sex": sex, "view": view, "age": age}
        given = ", ".join(f"{key}={value}" for key, value in options.items() if value is not None)
        raise DataError(
            f"No image and no patient is left in section {section!r} of {root}" + (f" with {given}." if given else ".")
        )
    paths = image_paths(root)
    absent = [stem for stem in chosen["stem"] if stem not in paths]
    if absent and require_images:
        raise DataError(
            f"{len(absent)} of the {len(chosen)} images of section {section!r} listed in {root} have no file under "
            f"images/ or images_*/images/, for example {absent[0]}; complete the download or shorten the lists."
        )
    boxes = _boxes_by_stem(root) if section in ("test", "all") else {}
    return _to_cases(chosen.sort_values("stem"), boxes, paths, root)


def image_files(root: Path) -> list[Path]:
    """Every image file under ``images/`` and ``images_*/images/``."""
    folders = [root / "images", *sorted(root.glob("images_*/images"))]
    return [file for folder in folders if folder.is_dir() for file in images_in(folder)]


def image_paths(root: Path) -> dict[str, Path]:
    """Stem -> file; where a stem has several files a PNG wins, then the first found."""
    found: dict[str, Path] = {}
    for file in image_files(root):
        stem, suffix = os.path.splitext(file.name)
        if stem not in found or (suffix.lower() == ".png" and found[stem].suffix.lower() != ".png"):
            found[stem] = file
    return found


def _check_options(
    section: str, sex: str | None, view: str | None, age: Sequence[float] | None, val_fraction: float
) -> None:
    for key, value, known in (
        ("section", section, SECTIONS),
        ("sex", sex, (None, "M", "F")),
        ("view", view, (None, "PA", "AP")),
    ):
        if value not in known:
            raise ConfigError(f"{key} is {value!r}; use one of {', '.join(str(choice) for choice in known)}.")
    if age is not None and (
        not isinstance(age, Sequence) or isinstance(age, str) or len(age) != 2 or not age[0] <= age[1]
    ):
        raise ConfigError(f"age is {age!r}; give the youngest and the oldest age in years, e.g. [18, 89].")
    if section == "val" and val_fraction == 0:
        raise ConfigError("section 'val' needs a val_fraction above 0; ChestX-ray14 publishes no validation list.")


def _read_unique_entries(root: Path) -> pd.DataFrame:
    path = tables.find_table(root, *tables.ENTRY_TABLES)
    entries = tables.read_entries(path)
    repeated = entries["stem"].duplicated()
    if repeated.any():
        name = entries.loc[repeated, "name"].iloc[0]
        raise DataError(f"{path} has {int(repeated.sum())} repeated rows, for example {name}; keep one row an image.")
    return entries


def _assign_splits(
    root: Path, entries: pd.DataFrame, section: Section, val_fraction: float, split_seed: int
) -> pd.DataFrame:
    """Rows of the section, with a `split` column."""
    by_stem = entries.set_index("stem")
    listed = {}
    for name in (tables.TRAIN_VAL_LIST, tables.TEST_LIST):
        path = tables.find_table(root, name)
        stems = pd.Index(tables.read_list(path)).unique()
        unknown = stems.difference(by_stem.index, sort=False)
        if len(unknown):
            raise DataError(
                f"{path} names {len(unknown)} images without a row in the Data_Entry table, for example {unknown[0]}; "
                "the list and the table must be of one data set."
            )
        listed[name] = by_stem.loc[stems].reset_index()
    train_val, test = listed[tables.TRAIN_VAL_LIST], listed[tables.TEST_LIST]
    both = set(train_val["patient_id"]) & set(test["patient_id"])
    if both:
        raise DataError(
            f"{len(both)} patients of {root} are in both {tables.TRAIN_VAL_LIST} and {tables.TEST_LIST}, for example "
            f"{min(both)}; give each patient to one list."
        )
    normal = train_val["findings"] == tables.NO_FINDING
    held = held_out_ids(train_val.loc[normal, "patient_id"], val_fraction, split_seed)
    train_val["split"] = "train"
    train_val.loc[train_val["patient_id"].isin(held), "split"] = "val"
    test["split"] = "test"
    if section == "test":
        return test
    if section == "all":
        return pd.concat([train_val, test], ignore_index=True)
    return train_val[normal & (train_val["split"] == section)]


def _filter(rows: pd.DataFrame, sex: str | None, view: str | None, age: Sequence[float] | None) -> pd.DataFrame:
    rows = rows.assign(age=rows["age"].where(rows["age"] <= tables.OLDEST_AGE))
    if sex is not None:
        rows = rows[rows["sex"] == sex]
    if view is not None:
        rows = rows[rows["view"] == view]
    if age is not None:
        rows = rows[rows["age"].between(age[0], age[1])]
    return rows


def _boxes_by_stem(root: Path) -> dict[str, tuple[Box, ...]]:
    table = tables.read_boxes(tables.find_table(root, tables.BOX_TABLE))
    boxes: dict[str, list[Box]] = {}
    columns = ("stem", "x", "y", "width", "height", "finding")
    for stem, *values in zip(*(table[column].tolist() for column in columns), strict=True):
        boxes.setdefault(stem, []).append(Box(*values))
    return {stem: tuple(found) for stem, found in boxes.items()}


def _to_cases(rows: pd.DataFrame, boxes: dict[str, tuple[Box, ...]], paths: dict[str, Path], root: Path) -> list[Case]:
    findings = {text: () if text == tables.NO_FINDING else tuple(text.split("|")) for text in rows["findings"].unique()}
    columns = ("name", "stem", "patient_id", "findings", "split", "sex", "view", "age")
    images = root / "images"
    cases = []
    for name, stem, patient, text, split, sex, view, age in zip(*(rows[c].tolist() for c in columns), strict=True):
        cases.append(
            Case(
                case_id=stem,
                patient_id=patient,
                image_path=paths.get(stem) or images / name,
                source=SOURCE,
                split=split,
                label=int(bool(findings[text]) or stem in boxes),
                sex=sex,
                view=view,
                age=age if age == age else None,  # NaN
                findings=findings[text],
                boxes=boxes.get(stem, ()),
            )
        )
    return cases
