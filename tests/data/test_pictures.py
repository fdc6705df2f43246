"""Triage of PNG, JPEG and TIFF files by their headers."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scripts.make_dx import make_dx
from vitad_med.data.dicom.intended_use import IntendedUse
from vitad_med.data.dicom.triage import Aside, Note
from vitad_med.data.image_io import read_stored
from vitad_med.data.worklist import Item, build_worklist

GREY = (np.arange(40 * 30).reshape(40, 30) % 256).astype(np.uint8)


def looked_at(folder: Path) -> dict[str, Item]:
    return {item.name: item for item in build_worklist(folder, IntendedUse())}


def png_head(width: int, height: int) -> bytes:
    """A PNG that announces so many pixels and holds none."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    header = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + header + struct.pack(">I", 100) + b"IDAT"


def test_what_becomes_of_pictures(tmp_path: Path) -> None:
    grey, colour = Image.fromarray(GREY), Image.fromarray(np.dstack([GREY, GREY.T.reshape(40, 30), GREY]))
    for name in ("grey.png", "grey.jpg", "grey.tif", "grey.bmp"):
        grey.save(tmp_path / name)
    Image.fromarray(GREY.astype(np.uint16) * 256).save(tmp_path / "deep.png")
    colour.save(tmp_path / "colour.png")
    grey.convert("RGB").save(tmp_path / "rgb.jpg")
    grey.save(tmp_path / "pages.tif", save_all=True, append_images=[grey, grey])
    grey.save(tmp_path / "moving.png", save_all=True, append_images=[Image.fromarray(255 - GREY)])
    Image.fromarray(GREY.astype(np.float32)).save(tmp_path / "float.tif")
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "empty.jpg").touch()
    for name, sides in (("bomb.png", (20_000, 20_000)), ("large.png", (12_000, 12_000))):
        (tmp_path / name).write_bytes(png_head(*sides))
    items = looked_at(tmp_path)
    assert {name: item.verdict.aside for name, item in items.items() if item.verdict.aside} == {
        "bomb.png": Aside.TOO_LARGE,
        "empty.jpg": Aside.UNREADABLE,
        "float.tif": Aside.UNREADABLE,
        "large.png": Aside.TOO_LARGE,
        "moving.png": Aside.MULTI_FRAME,
        "pages.tif": Aside.MULTI_FRAME,
        "text.png": Aside.UNREADABLE,
    }
    assert all(bool(item.verdict.detail) is (item.case is None) for item in items.values())
    coloured = {name for name, item in items.items() if item.verdict.notes == (Note.COLOUR,)}
    assert coloured == {"colour.png", "rgb.jpg"}
    for name, item in items.items():
        if item.case is not None:
            assert read_stored(item.path).shape[0] == (3 if name == "colour.png" else 1)


@pytest.mark.filterwarnings("error")
def test_a_large_picture_is_no_warning(tmp_path: Path) -> None:
    """Pillow warns from 89 million pixels; up to 134 million are scored."""
    (tmp_path / "a.png").write_bytes(png_head(10_000, 10_000))
    assert looked_at(tmp_path)["a.png"].case is not None


def test_a_dicom_file_is_one_whatever_it_is_called(tmp_path: Path) -> None:
    make_dx(np.kron(GREY, np.ones((8, 8))) / 255, "1").save_as(tmp_path / "a.png", enforce_file_format=True)
    [item] = build_worklist(tmp_path, IntendedUse())
    assert item.header is not None
    assert item.case is not None
    assert item.case.source == "dicom"
