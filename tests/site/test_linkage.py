"""The table from hashed names back to identifiers: private, complete or unchanged, found by a name's first digits."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vitad_med.errors import ConfigError, DataError
from vitad_med.site.key import SiteKey
from vitad_med.site.linkage import Link, add_links, look_up

KEY = SiteKey(bytes(range(32)))


def link(identifier: str, domain: str = "patient") -> Link:
    return Link(KEY.name(domain, identifier), domain, identifier, KEY.id)  # type: ignore[arg-type]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config" / "linkage.sqlite"


def test_names_are_found_whole_and_by_their_first_digits(path: Path) -> None:
    links = [link("17"), link("18"), link("1.2.3", "study"), link("1.2.3.4", "image")]
    add_links(links, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for one in links:
        assert look_up(one.name, path) == [one]
        assert one in look_up(one.name[:8].upper(), path)
    assert look_up("0" * 32, path) == []


def test_links_are_added_once(path: Path) -> None:
    add_links([link("17")], path)
    add_links([link("17"), link("18")], path)
    assert look_up(link("17").name, path) == [link("17")]


def test_several_writers_lose_nothing(path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda part: add_links([link(f"{part}-{k}") for k in range(20)], path), range(8)))
    for part in range(8):
        for k in range(20):
            assert look_up(link(f"{part}-{k}").name, path)


def test_nothing_is_added_by_halves(path: Path) -> None:
    add_links([link("17")], path)

    def broken():
        yield link("18")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        add_links(broken(), path)
    assert look_up(link("18").name, path) == []


def test_refusals(path: Path) -> None:
    with pytest.raises(DataError, match="no linkage table"):
        look_up("0" * 32, path)
    add_links([link("17")], path)
    for wrong in ("", "123", "x" * 32, "0" * 33, "%" * 8):
        with pytest.raises(DataError, match="is no hashed name: give 8 to 32 hexadecimal digits"):
            look_up(wrong, path)
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="can be read by other users"):
        look_up("0" * 32, path)
    with pytest.raises(ConfigError, match="can be read by other users"):
        add_links([link("18")], path)
    path.chmod(0o600)
    path.write_bytes(b"no table " * 200)
    with pytest.raises(DataError, match="is damaged"):
        look_up("0" * 32, path)
