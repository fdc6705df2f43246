"""Two thousand damaged files of every encoding: each gets an answer, and none repeats what it says of the patient."""

from __future__ import annotations

import logging
import random
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import JPEGBaseline8Bit

from scripts.make_dx import make_dx
from tests.data.dicom.encodings import LOSSLESS, LOSSY, encode
from vitad_med.data.dicom.intended_use import IntendedUse
from vitad_med.data.dicom.pixels import read_radiograph
from vitad_med.data.worklist import build_worklist
from vitad_med.errors import DataError

FILES = 2000
CANARY = "CANARY"


def mutated(content: bytes, draw: random.Random) -> bytes:
    """Bytes changed here and there, a run of them overwritten, a run cut out, or the end cut off."""
    data = bytearray(content)
    kind, at, count = draw.randrange(4), draw.randrange(len(data)), draw.randrange(1, 64)
    if kind == 0:
        for _ in range(count % 20 + 1):
            data[draw.randrange(len(data))] = draw.randrange(256)
    elif kind == 1:
        data[at : at + count] = draw.randbytes(count)
    elif kind == 2:
        del data[at : at + 6 * count]
    else:
        del data[at:]
    return bytes(data)


@pytest.mark.slow
def test_damaged_files_are_answered(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    image = np.kron(np.random.default_rng(0).random((8, 8)), np.ones((16, 16)))
    originals = []
    for syntax in (*LOSSLESS, *LOSSY):
        for bits in (8,) if syntax == JPEGBaseline8Bit else (8, 12):
            path = tmp_path / "original.dcm"
            make_dx(image, "1", bits=bits, patient=CANARY).save_as(path, enforce_file_format=True)
            encode(path, syntax)
            originals.append(path.read_bytes())
            path.unlink()
    draw = random.Random(0)
    for number in range(FILES):
        folder = tmp_path / "damaged" / f"{number:04d}"
        folder.mkdir(parents=True)
        (folder / "x.dcm").write_bytes(mutated(draw.choice(originals), draw))

    caplog.set_level(logging.DEBUG)
    caplog.clear()  # of what the encoders said
    reasons: dict[str, int] = {}
    decoded = 0
    for folder in sorted((tmp_path / "damaged").iterdir()):
        [item] = build_worklist(folder, IntendedUse())
        assert CANARY not in item.verdict.detail
        if item.case is None:
            assert item.verdict.aside is not None
            assert item.verdict.detail
            reasons[item.verdict.aside] = reasons.get(item.verdict.aside, 0) + 1
            continue
        try:
            values = read_radiograph(item.path).values
        except DataError as error:
            assert CANARY not in str(error)  # noqa: PT017 - either outcome is right, if it keeps the patient to itself
            reasons["pixels"] = reasons.get("pixels", 0) + 1
        else:
            assert values.dtype == np.uint16
            decoded += 1
    assert sum(reasons.values()) + decoded == FILES
    # The damage was of every kind: to headers, to lengths, to pixels, and harmless.
    assert min(reasons[kind] for kind in ("unreadable", "truncated", "not_an_image", "pixels")) > 5
    assert decoded > 100
    captured = capfd.readouterr()
    assert CANARY not in captured.out + captured.err + caplog.text
    assert not caplog.records
