"""Writing a run to disk while it is scored, image by image."""

from __future__ import annotations

import csv
import io
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vitad_med.data.case import Case
from vitad_med.data.image_io import read_image, resize, to_channels
from vitad_med.data.intensity import from_unit_range
from vitad_med.data.registry import PUBLIC_SOURCES
from vitad_med.errors import DataError, StorageError
from vitad_med.predictions import layout
from vitad_med.predictions.file_names import file_stems
from vitad_med.predictions.identifiers import Identifiers, public_names, safe_cell
from vitad_med.predictions.journal import Journal, journal_text, with_digests

POOLED_AGE = 90  # HIPAA Safe Harbor, 45 CFR 164.514(b)(2)(i)(C): ages over 89 are one category
_PREFIX = ".predictions."
_OVERHEAD = 1024  # bytes of headers and of the last block, for each file


class PredictionWriter:
    """Writes ``<output_dir>/predictions``; the folder appears, and replaces an older one, when it is complete.

    Scores and boxes are written so that they read back as the same float64, maps as float32. Of data that are not
    public, ages are whole years and 90 stands for all above it.

    Args:
        output_dir: folder of the run.
        cases: N records, in the order of their indices.
        eval_size: side S of the grid in pixels.
        identifiers: ``clear`` or ``hashed`` names.
        identifier_key: secret of ``hashed``.

    Raises:
        ConfigError: hashed names without a key.
        StorageError: the folder cannot be made, or the disk has no room for the predictions.
    """

    def __init__(
        self,
        output_dir: Path,
        cases: Sequence[Case],
        eval_size: int,
        identifiers: Identifiers,
        identifier_key: bytes | None = None,
    ) -> None:
        self.folder = output_dir / layout.FOLDER
        self.cases = tuple(cases)
        self.eval_size = eval_size
        self.identifiers = identifiers
        self.public = all(case.source in PUBLIC_SOURCES for case in self.cases)
        self._names, self._patients = public_names(self.cases, identifiers, identifier_key)
        self._stems = file_stems(self._names)
        self._scores: dict[int, float] = {}
        self._masks: set[int] = set()
        with _storage(self.folder):
            output_dir.mkdir(parents=True, exist_ok=True)
            for leftover in output_dir.glob(f"{_PREFIX}*"):  # of a run that was killed
                shutil.rmtree(leftover)
            self._check_space(output_dir)
            self._temporary = Path(tempfile.mkdtemp(dir=output_dir, prefix=_PREFIX))
            self._clean = weakref.finalize(self, shutil.rmtree, self._temporary, ignore_errors=True)
            self._new = self._temporary / "new"
            for name in (layout.MAPS, layout.IMAGES, layout.MASKS):
                (self._new / name).mkdir(parents=True)

    def _check_space(self, output_dir: Path) -> None:
        pixels = self.eval_size**2
        masks = sum(case.mask_path is not None for case in self.cases)
        needed = len(self.cases) * (6 * pixels + 2 * _OVERHEAD) + masks * (pixels + _OVERHEAD)
        free = shutil.disk_usage(output_dir).free
        if needed > free:
            raise StorageError(
                f"the predictions need {needed / 1e9:.1f} GB in {output_dir}, {free / 1e9:.1f} GB are free: free "
                "space, choose another output_dir, or give --keep_predictions False"
            )

    def add(
        self,
        index: int,
        score: float,
        anomaly_map: NDArray[np.float32],
        mask: NDArray[np.bool_] | None = None,
    ) -> None:
        """Write one image's map, picture and mask; its score goes into the table at the end.

        Args:
            index: of the case.
            score: higher where more anomalous.
            anomaly_map: [S, S].
            mask: [S, S], the truth of a case that has a mask file.

        Raises:
            DataError: the picture cannot be read, or a map of another size.
            StorageError: the disk is full.
        """
        case, stem, size = self.cases[index], self._stems[index], self.eval_size
        if anomaly_map.shape != (size, size):
            raise DataError(f"The map of image {case.case_id} is {anomaly_map.shape}, but must be {(size, size)}.")
        picture = to_channels(resize(read_image(case.image_path), size), 1)[0]
        with _storage(self.folder):
            np.save(self._new / layout.MAPS / f"{stem}.npy", anomaly_map.astype(np.float32, copy=False))
            Image.fromarray(from_unit_range(picture, np.uint16)).save(self._new / layout.IMAGES / f"{stem}.png")
            if mask is not None:
                Image.fromarray(mask.astype(np.uint8) * 255).save(self._new / layout.MASKS / f"{stem}.png")
                self._masks.add(index)
        self._scores[index] = float(score)

    def finish(self, journal: Journal) -> Path:
        """Write the tables, then the journal, and put the folder in its place.

        Args:
            journal: of the run; names, grid and digests of pipeline and backend are filled in.

        Returns:
            The folder.

        Raises:
            DataError: an image was not added.
            StorageError: the disk is full; an older folder stays as it was.
        """
        missing = len(self.cases) - len(self._scores)
        if missing:
            raise DataError(f"{missing} of {len(self.cases)} images were not scored; the predictions are not kept.")
        journal = replace(
            with_digests(journal), public=self.public, identifiers=self.identifiers, eval_size=self.eval_size
        )
        with _storage(self.folder):
            for name in (layout.MAPS, layout.IMAGES, layout.MASKS):
                if not any((self._new / name).iterdir()):
                    (self._new / name).rmdir()
            (self._new / layout.TABLE).write_text(self._table(), encoding="utf-8")
            if any(case.boxes for case in self.cases):
                (self._new / layout.BOX_TABLE).write_text(self._box_table(), encoding="utf-8")
            (self._new / layout.JOURNAL).write_text(journal_text(journal), encoding="utf-8")
            if hasattr(os, "sync"):  # once for all files: to flush each of 50,000 takes minutes
                os.sync()
            self._put_in_place()
        self._clean()
        return self.folder

    def _put_in_place(self) -> None:
        old = self._temporary / "old"
        if self.folder.exists():
            self.folder.rename(old)
        try:
            self._new.rename(self.folder)
        except OSError:
            if old.exists():
                old.rename(self.folder)
            raise

    def _table(self) -> str:
        axes = list(dict.fromkeys(name for case in self.cases for name, _ in case.columns))
        rows = [[*layout.COLUMNS, *axes]]
        for index, case in enumerate(self.cases):
            stem, values = self._stems[index], dict(case.columns)
            rows.append(
                [
                    safe_cell(self._names[index]),
                    safe_cell(self._patients[index]),
                    repr(self._scores[index]),
                    str(case.label),
                    safe_cell(case.sex),
                    safe_cell(case.view),
                    self._age(case.age),
                    safe_cell(layout.FINDING_SEPARATOR.join(case.findings)),
                    safe_cell(case.source),
                    safe_cell(case.group),
                    case.split,
                    safe_cell(f"{stem}.npy"),
                    safe_cell(f"{stem}.png"),
                    safe_cell(f"{stem}.png") if index in self._masks else "",
                    *(safe_cell(values.get(name, "")) for name in axes),
                ]
            )
        return _csv(rows)

    def _box_table(self) -> str:
        rows = [list(layout.BOX_COLUMNS)]
        for name, case in zip(self._names, self.cases, strict=True):
            for box in case.boxes:
                fractions = (repr(float(value)) for value in (box.x, box.y, box.width, box.height))
                rows.append([safe_cell(name), safe_cell(box.finding), *fractions])
        return _csv(rows)

    def _age(self, age: float | None) -> str:
        if age is None:
            return ""
        if not self.public:
            return str(min(int(age), POOLED_AGE))
        return str(int(age)) if float(age).is_integer() else repr(float(age))


def _csv(rows: Sequence[Sequence[str]]) -> str:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue()


@contextmanager
def _storage(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"cannot write '{folder}': {error.strerror or error}; what was there before is intact, free space or "
            "choose another output_dir"
        ) from error
