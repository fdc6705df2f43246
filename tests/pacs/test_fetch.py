"""What may be asked for; the fetching itself is tested against a real Orthanc in test_orthanc_web."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.pacs.conftest import free_port
from vitad_med.cli import main
from vitad_med.errors import ConfigError
from vitad_med.pacs.fetch import Query


@pytest.mark.parametrize("date", ["20260131", "20260101-20260131", "20260101-", "-20260131"])
def test_dates(date: str) -> None:
    assert Query(date=date).date == date


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ({}, "--study"),
        ({"studies": ("1.2",), "date": "20260101"}, "leave out"),
        ({"studies": ("1.2/../x",)}, "UID"),
        ({"date": "2026-01-01"}, "--date"),
        ({"date": "20260230"}, "--date"),
        ({"date": "20260131-20260101"}, "--date"),
        ({"filters": (("Statoin", "x"),)}, "--filter Statoin"),
    ],
)
def test_what_cannot_be_asked(query: dict[str, object], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        Query(**query)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--modality", " ,"], "--modality"),
        (["--filter", "StationName"], "KEYWORD=VALUE"),
        ([], "does not answer"),
    ],
)
def test_mistakes_are_one_sentence(
    words: list[str], named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"http://127.0.0.1:{free_port()}/dicom-web"
    base = ["fetch", url, "--out", str(tmp_path / "out"), "--date", "20260131", "--attempts", "1"]
    assert main([*base, *words]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ")
    assert named in printed
    assert len(printed.splitlines()) == 1


def test_a_password_that_would_cross_the_network_in_the_clear_is_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITAD_MED_DICOMWEB_TOKEN", "canary")
    words = ["--out", str(tmp_path), "--date", "20260131", "--attempts", "1"]
    assert main(["fetch", "http://vitad-med.invalid/dicom-web", *words]) == 2
    printed = capsys.readouterr().err
    assert "in the clear" in printed
    assert "canary" not in printed
    main(["fetch", "https://vitad-med.invalid/dicom-web", *words])
    assert "in the clear" not in capsys.readouterr().err
