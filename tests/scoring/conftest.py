"""A ward of real radiographs as DICOM files, a site with a key of its own, and a bundle that is opened once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from scripts.make_dx import make_folder
from vitad_med.data.chestxray14 import read_chestxray14
from vitad_med.scoring.run import Scored, score_folder
from vitad_med.scoring.settings import ScoreSettings
from vitad_med.site.folder import VARIABLE

EPOCH = "1700000000"
IMAGES = 7


@pytest.fixture(scope="session")
def ward(nih_mini: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven radiographs, a truncated one and a text file, in two folders."""
    folder = tmp_path_factory.mktemp("ward")
    cases = read_chestxray14(nih_mini, section="test")[:IMAGES]
    made = make_folder(cases, folder / "a")
    (folder / "b").mkdir()
    for path in made[3:]:
        path.rename(folder / "b" / path.name)
    (folder / "b" / "cut.dcm").write_bytes(made[0].read_bytes()[:5000])
    (folder / "notes.txt").write_text("nothing\n")
    return folder


@pytest.fixture(autouse=True)
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration folder without a key, and a fixed time."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "site"))
    monkeypatch.setenv("SOURCE_DATE_EPOCH", EPOCH)
    return tmp_path / "site"


@pytest.fixture
def settings(repo_root: Path, ward: Path, tmp_path: Path) -> ScoreSettings:
    """Everything in this process, without DICOM objects."""
    return ScoreSettings(
        source=ward,
        bundle=repo_root / "bundles" / "attn_synth",
        out=tmp_path / "out",
        outputs=("worklist", "report"),
        batch_size=3,
        workers=0,
    )


@pytest.fixture
def score(settings: ScoreSettings) -> Callable[..., Scored]:
    """Run with some settings changed."""

    def run(**changes: object) -> Scored:
        asked = replace(settings, **changes)  # type: ignore[arg-type]
        return score_folder(asked, tell=lambda _: None)

    return run


@pytest.fixture(scope="session")
def tree() -> Callable[[Path], dict[str, bytes]]:
    """Every file of a folder and its bytes."""

    def read(folder: Path) -> dict[str, bytes]:
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    return read
