"""`vitad-med fetch`, `send` and `listen`: help, and mistakes in one sentence. What they do is tested in tests/pacs."""

from __future__ import annotations

from pathlib import Path

import pytest

from vitad_med.cli import main
from vitad_med.cli.app import build_parser
from vitad_med.cli.listen import _settings
from vitad_med.site.folder import VARIABLE


@pytest.fixture(autouse=True)
def key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "config"))
    assert main(["key", "new"]) == 0


@pytest.mark.parametrize("command", ["fetch", "send", "listen"])
def test_help_has_examples_and_exit_statuses(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        main([command, "--help"])
    assert leaving.value.code == 0
    shown = capsys.readouterr().out
    assert "examples:" in shown
    assert "130  interrupted" in shown
    assert max(len(line) for line in shown.splitlines()) <= 100
    assert not {"--password", "--user", "--token"} & set(shown.replace("=", " ").split())


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["fetch", "https://a:b@archive/x", "--out", "x", "--date", "20260101"], "VITAD_MED_DICOMWEB_PASSWORD"),
        (["fetch", "dicom://A@archive:104", "--out", "x", "--date", "20260101"], "DICOMweb"),
        (["fetch", "https://archive/x", "--out", "x"], "--study"),
        (["send", "absent", "--to", "https://archive/x"], "absent is no folder"),
        (["send", ".", "--to", "archive"], "https://"),
        (["listen", "--bundle", "b", "--out", "x", "--host", "0.0.0.0"], "--allow AE@IP"),
        (["listen", "--bundle", "b", "--out", "x", "--allow", "MODALITY"], "MODALITY"),
        (["listen", "--bundle", "b", "--out", "x", "--tls"], "VITAD_MED_DICOM_CERT"),
        (["listen", "--bundle", "b", "--out", "x", "--send_to", "ftp://a/b"], "https://"),
        (["listen", "--bundle", "b", "--out", "x", "--ae_title", "SEVENTEEN-LETTERS"], "AE title"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_mistakes_are_one_sentence(words: list[str], named: str, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(words) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: ")
    assert named in shown
    assert len(shown.splitlines()) == 1


def test_options_of_the_listener_reach_it() -> None:
    words = ["listen", "--bundle", "b", "--out", "x", "--study_timeout", "7", "--max_waiting", "9"]
    settings = _settings(build_parser().parse_args([*words, "--min_free_gb", "3", "--keep_days", "2"]))
    assert settings.study_timeout == 7
    assert settings.limits.waiting == 9
    assert settings.limits.free == 3 * 10**9
    assert settings.keep == 2 * 86400
