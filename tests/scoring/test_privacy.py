"""Canaries in every text tag of the sources: no byte outside the DICOM objects holds one."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from pydicom.datadict import dictionary_VR, keyword_dict
from pydicom.dataset import Dataset

from scripts.make_dx import make_folder
from tests.warm import Warm
from vitad_med.data.chestxray14 import read_chestxray14
from vitad_med.scoring.run import Scored
from vitad_med.scoring.settings import OUTPUTS

CANARY = "KANARI"
DATE, TIME = "19570313", "121314"
TEXT_VRS = {"LO", "SH", "PN", "ST", "LT", "UT", "UC", "CS", "AE", "UR"}
# What triage and decoding read, so that the files are still scored.
NEEDED = {
    *("SpecificCharacterSet", "Modality", "PatientSex", "PatientAge", "ViewPosition", "BodyPartExamined"),
    *("PhotometricInterpretation", "PresentationLUTShape", "PresentationIntentType", "PatientID", "PatientName"),
    *("BurnedInAnnotation", "VOILUTFunction", "RescaleType", "LossyImageCompression", "PixelIntensityRelationship"),
    *("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "ImageType"),
}


def plant(dataset: Dataset) -> int:
    """A canary in every text tag of the standard that one value fits; how many."""
    planted = 0
    for keyword in sorted(keyword_dict):
        vr = dictionary_VR(keyword_dict[keyword])
        tag = keyword_dict[keyword]
        if keyword in NEEDED or tag >> 16 in (0x0000, 0x0002, 0x0004) or "Retired" in keyword:
            continue
        if vr in TEXT_VRS:
            setattr(dataset, keyword, f"{CANARY}{planted}")
            planted += 1
        elif vr == "DA":
            setattr(dataset, keyword, DATE)
    dataset.PatientName, dataset.PatientID = f"{CANARY}^NAME", f"{CANARY}-ID"
    dataset.PatientBirthDate, dataset.StudyTime = DATE, TIME
    dataset.StudyInstanceUID = "2.25.77777"
    dataset.private_block(0x0011, "KANARI PRIVATE", create=True).add_new(0x01, "LO", f"{CANARY}PRIVATE")
    return planted


@pytest.fixture
def aviary(nih_mini: Path, tmp_path: Path) -> Path:
    """Radiographs full of canaries in a folder named after a patient, with some that are set aside."""
    folder = tmp_path / f"{CANARY}^MARY"
    made = make_folder(read_chestxray14(nih_mini, section="test")[:4], folder)
    for number, path in enumerate(made):
        dataset = pydicom.dcmread(path)
        assert plant(dataset) > 400
        if number == 1:
            dataset.Modality = CANARY
        if number == 2:
            dataset.PhotometricInterpretation = CANARY
        dataset.save_as(path.with_name(f"{CANARY}{number}.dcm"))
        path.unlink()
    (folder / f"{CANARY}.txt").write_text(CANARY)
    (folder / f"{CANARY}.dcm").write_bytes((folder / f"{CANARY}0.dcm").read_bytes()[:-2000])
    return folder


SECRETS = tuple(text.encode() for text in (CANARY, DATE, TIME, "2.25.77777"))


def found_in(folder: Path) -> list[str]:
    """Names and contents of files that hold a secret, in any of the usual encodings."""
    hits = []
    for path in sorted(folder.rglob("*")):
        content = path.read_bytes() if path.is_file() else b""
        for secret in SECRETS:
            forms = (secret, secret.lower(), secret.decode().encode("utf-16-le"))
            if any(form in content or form in str(path.relative_to(folder)).encode() for form in forms):
                hits.append(f"{path.relative_to(folder)}: {secret!r}")
    return hits


def test_no_byte_outside_the_dicom_objects_holds_a_canary(
    score: Callable[..., Scored], aviary: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    scored = score(source=aviary, outputs=tuple(o for o in OUTPUTS if o in ("worklist", "parquet", "report", "maps")))
    assert sum(row.score is not None for row in scored.rows) == 2
    assert {row.set_aside for row in scored.rows} == {"", "modality", "colour", "unreadable", "truncated"}
    assert found_in(scored.out) == []
    said = capfd.readouterr()
    heard = (said.out + said.err + caplog.text).encode()
    # The folder itself is named by the user; only what was read from files is a secret here.
    assert [secret for secret in SECRETS if secret in heard] == []


@pytest.mark.parametrize("engine", ["local", pytest.param("ray", marks=pytest.mark.slow)])
def test_the_command_says_nothing_of_patients(
    aviary: Path, repo_root: Path, tmp_path: Path, warm: Warm, engine: str
) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "vitad_med.cli", "score", str(aviary), "--out", str(out), "--workers", "1"]
    command += [
        "--bundle",
        str(repo_root / "bundles" / "attn_synth"),
        "--outputs",
        "worklist,report,maps,sc,seg,sr,gsps",
    ]
    command += ["--engine", engine, "--deidentify"]
    # The folder of Ray's own logs: a short name, since sockets in it may have 107 bytes.
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as rays:
        done = warm.run(command, tmp_path, {**os.environ, "RAY_TMPDIR": rays}, 300)
        assert done.returncode == 0, done.stderr
        assert bool(list(Path(rays).rglob("*.log"))) == (engine == "ray")
        assert found_in(Path(rays)) == []
    assert [secret for secret in SECRETS if secret in (done.stdout + done.stderr).encode()] == []
    assert (out / "dicom").is_dir()
    # With --deidentify the DICOM objects are searched too.
    assert found_in(out) == []


def test_the_key_is_nowhere_in_the_results(score: Callable[..., Scored], aviary: Path, site: Path) -> None:
    out = score(source=aviary).out
    secret = (site / "site.key").read_text().splitlines()[1]
    forms = (secret.encode(), bytes.fromhex(secret))
    assert [path.name for path in out.rglob("*") if path.is_file() and any(f in path.read_bytes() for f in forms)] == []


def test_the_search_finds_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(f"x{CANARY}y")
    (tmp_path / "b.bin").write_bytes(CANARY.encode("utf-16-le"))
    (tmp_path / f"{CANARY}.txt").write_text("")
    assert len(found_in(tmp_path)) == 3
