"""The site's key: made once, private, named by a number, and never printed."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from vitad_med.errors import ConfigError, StorageError
from vitad_med.site.folder import VARIABLE, site_folder
from vitad_med.site.key import SiteKey, key_path, new_key, read_key, rotate_key


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config" / "site.key"


def test_a_new_key_is_private_and_reads_back(path: Path) -> None:
    made = new_key(path)
    assert read_key(path) == made
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert made.secret.hex() in path.read_text()
    assert new_key(path.with_name("other.key")) != made


def test_a_key_is_not_printed(path: Path) -> None:
    key = new_key(path)
    for text in (repr(key), str(key), key.id, f"{key}"):
        assert key.secret.hex() not in text
        assert repr(key.secret) not in text
    assert len(key.id) == 8


def test_names_are_hmac_sha256_by_domain() -> None:
    key = SiteKey(bytes(range(32)))
    # openssl: printf 'patient\0001234' | openssl dgst -sha256 -mac HMAC -macopt hexkey:000102...1f
    assert key.name("patient", "1234") == "4e549312ab8bc5509d9d67cefb374ad9"
    names = {key.name(domain, "1234") for domain in ("patient", "study", "image")}  # type: ignore[arg-type]
    assert len(names) == 3
    assert all(len(name) == 32 for name in names)
    assert key.name("patient", "山田") != key.name("patient", "山本")
    assert SiteKey(bytes(32)).name("patient", "1234") not in names
    with pytest.raises(ConfigError, match="domain 'doctor' is unknown: use patient, study, image"):
        key.name("doctor", "1")  # type: ignore[arg-type]


def test_there_is_one_key(path: Path) -> None:
    made = new_key(path)
    with pytest.raises(ConfigError, match=r"there is a key at .*rotate"):
        new_key(path)
    assert read_key(path) == made


def test_rotation_keeps_the_former_key(path: Path) -> None:
    first = new_key(path)
    second, former = rotate_key(path)
    assert former.name == f"site.{first.id}.key"
    assert read_key(former) == first
    assert read_key(path) == second != first


def test_a_rotation_that_fails_leaves_the_key(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = new_key(path)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "open", full)
    with pytest.raises(StorageError, match="No space left"):
        rotate_key(path)
    monkeypatch.undo()
    assert read_key(path) == first


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_that_others_can_read_is_refused(path: Path, mode: int) -> None:
    new_key(path)
    path.chmod(mode)
    with pytest.raises(ConfigError, match=r"can be read by other users \(mode 0\d+\).*chmod 600"):
        read_key(path)


@pytest.mark.parametrize("content", [b"", b"vitad_med site key 1\n12ab\n", b"0" * 64, b"\xff\xfe" * 40])
def test_a_damaged_key_is_refused_without_showing_it(path: Path, content: bytes) -> None:
    new_key(path)
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"is damaged|cannot be read") as caught:
        read_key(path)
    assert "12ab" not in str(caught.value)


def test_a_missing_key_names_the_command(path: Path) -> None:
    with pytest.raises(ConfigError, match="vitad-med key new"):
        read_key(path)


def test_where_the_key_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "xdg"))
    assert site_folder() == tmp_path / "xdg" / "vitad_med"
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert site_folder() == tmp_path / "home" / ".config" / "vitad_med"
    monkeypatch.setenv(VARIABLE, str(tmp_path / "own"))
    assert key_path() == tmp_path / "own" / "site.key"
