"""Files that hold many images: read exactly, and refused when they are damaged or would run code."""

from __future__ import annotations

import gzip
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from vitad_med.data.cache import resized_array
from vitad_med.data.case import Case
from vitad_med.data.image_io import read_stored, stored_bits
from vitad_med.data.packed import content_digest, packed_parts, packed_path, read_pack, storage_file
from vitad_med.data.splits import data_digest
from vitad_med.errors import DataError

IMAGES = np.arange(5 * 4 * 3, dtype=np.uint8).reshape(5, 4, 3)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "images-idx3-ubyte"
    path.write_bytes(struct.pack(">HBB3I", 0, 8, 3, *IMAGES.shape) + IMAGES.tobytes())
    return path


def case(file: Path, index: int) -> Case:
    return Case(f"{index}", f"{index}", packed_path(file, index), "mnist", "test", 0)


def test_an_image_has_a_path(file: Path) -> None:
    path = packed_path(file, 3)
    assert packed_parts(path) == (file, 3)
    assert storage_file(path) == file
    assert stored_bits(path) == 8
    np.testing.assert_array_equal(read_stored(path), IMAGES[3][None])
    assert packed_parts(file) is None
    assert storage_file(file) == file
    with pytest.raises(DataError, match="has no image number 5: it holds 5"):
        read_stored(packed_path(file, 5))


def test_a_folder_of_numbers_is_a_folder(tmp_path: Path) -> None:
    assert packed_parts(tmp_path / "00042") is None
    assert packed_parts(tmp_path / "42.png") is None


def test_the_file_is_read_again_when_it_changed(file: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    before = resized_array([case(file, 0)], 4, cache)
    changed = 255 - IMAGES
    file.write_bytes(struct.pack(">HBB3I", 0, 8, 3, *changed.shape) + changed.tobytes() + b"")
    file.touch()
    np.testing.assert_array_equal(read_stored(packed_path(file, 0)), changed[0][None])
    assert not np.array_equal(resized_array([case(file, 0)], 4, cache), before)


def test_digests_are_of_the_image_not_of_its_file(file: Path) -> None:
    digests = {content_digest(packed_path(file, index)) for index in range(5)}
    assert len(digests) == 5
    assert content_digest(file) not in digests
    assert data_digest([case(file, 1)]) != data_digest([case(file, 2)])


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (
            struct.pack(">HBB3I", 0, 8, 3, 5, 4, 3) + b"short",
            "announces 5 x 4 x 3 values and holds 5: it is cut",
        ),
        (struct.pack(">HBB3I", 0, 8, 3, 1, 2, 2) + b"too long", "announces 1 x 2 x 2 values and holds 8"),
        (struct.pack(">HBB3I", 0, 8, 3, 0, 28, 28), "announces 0 x 28 x 28"),
        (
            struct.pack(">HBB3I", 0, 9, 3, 1, 2, 2) + b"four",
            "no IDX file of labels or grey images: .* with 00 00 09",
        ),
        (struct.pack(">HBB2I", 0, 8, 2, 2, 2) + b"four", "it begins with 00 00 08 02"),
        (b"\0\0", "is no IDX file"),
        (b"\0\0\x08\x03\0\0", "is no IDX file"),
        (gzip.compress(b"\0\0\x08\x01", mtime=0)[:-4], "copy or download it again"),
        (gzip.compress(b"\0\0\x08\x01" * 99, mtime=0)[:20] + b"junk", "copy or download it again"),
        (b"PK\x03\x04 no archive", "copy or download it again"),
        (b"some text", "neither IDX, nor npz, nor a batch"),
        (b"", "neither IDX, nor npz, nor a batch"),
        (pickle.dumps({"data": 1}), "neither IDX, nor npz, nor a batch"),
        (
            pickle.dumps({b"data": np.zeros((2, 9), np.uint8), b"labels": [0, 1]}),
            r"shape \(2, 9\) for 2 labels",
        ),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, content: bytes, part: str) -> None:
    path = tmp_path / "damaged"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"{path}.*{part}" if "announces" in part else part):
        read_pack(path)


class _Runs:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (str(self.target),)


def test_a_pickle_runs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "data_batch_1"
    path.write_bytes(b"c" + b"posix\nsystem\n(S'touch " + str(tmp_path / "ran").encode() + b"'\ntR.")
    with pytest.raises(DataError, match=r"it names posix.system, which no batch of CIFAR-10 needs"):
        read_pack(path)
    path.write_bytes(pickle.dumps(_Runs(tmp_path / "ran")))
    with pytest.raises(DataError, match="which no batch of CIFAR-10 needs"):
        read_pack(path)
    assert not (tmp_path / "ran").exists()


def test_npz_files_are_checked(tmp_path: Path) -> None:
    path = tmp_path / "train.npz"
    np.savez(path, images=np.zeros((2, 4, 4), np.uint8))
    with pytest.raises(DataError, match="has no array 'labels'"):
        read_pack(path)
    np.savez(path, images=np.zeros((2, 4, 4), np.float32), labels=np.zeros(2))
    with pytest.raises(DataError, match="are float32"):
        read_pack(path)
    np.savez(path, images=np.zeros((2, 4, 4), np.uint8), labels=np.zeros(2))
    with pytest.raises(DataError, match=r"labels of .* are float64, not whole numbers"):
        read_pack(path)
    np.savez(path, images=np.zeros((2, 4, 4), np.uint8), labels=np.zeros(3, np.int64))
    with pytest.raises(DataError, match=r"holds 2 images and labels of shape \(3,\)"):
        read_pack(path)
    np.savez(path, images=np.array([{"a": 1}], dtype=object), labels=np.zeros(1))
    with pytest.raises(DataError, match="copy or download it again"):
        read_pack(path)
