"""`vitad-med key` and `vitad-med lookup`."""

from __future__ import annotations

from pathlib import Path

import pytest

from vitad_med.cli import main
from vitad_med.site.folder import VARIABLE
from vitad_med.site.key import read_key
from vitad_med.site.linkage import Link, add_links


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "config"))
    return tmp_path / "config"


def test_new_check_rotate(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["key", "check"]) == 2
    assert "vitad-med key new" in capsys.readouterr().err
    assert main(["key", "new"]) == 0
    first = read_key()
    assert main(["key", "check"]) == 0
    assert main(["key", "new"]) == 2
    assert main(["key", "rotate"]) == 0
    printed = capsys.readouterr()
    assert first.id in printed.out
    assert read_key().id in printed.out
    assert first.secret.hex() not in printed.out + printed.err
    assert read_key() != first


def test_lookup(capsys: pytest.CaptureFixture[str]) -> None:
    main(["key", "new"])
    key = read_key()
    link = Link(key.name("patient", "17"), "patient", "17", key.id)
    add_links([link])
    capsys.readouterr()
    assert main(["lookup", link.name[:10]]) == 0
    assert capsys.readouterr().out.split() == ["patient", link.name, "17"]
    assert main(["lookup", "0" * 32]) == 1
    assert "not known" in capsys.readouterr().out
    assert main(["lookup", "nobody"]) == 2
