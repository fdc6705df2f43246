"""The whole way: Orthanc sends a study, the real bundle scores it, the results are in Orthanc under the study."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripts.make_dx import make_folder
from tests.pacs.conftest import Orthanc, free_port, until
from vitad_med.data.chestxray14 import read_chestxray14
from vitad_med.site.key import SiteKey

pytestmark = pytest.mark.slow


@pytest.mark.usefixtures("signed_in")
def test_results_of_a_study_that_orthanc_sends_come_back_under_it(
    start_orthanc: Callable[..., Orthanc], nih_mini: Path, repo_root: Path, tmp_path: Path, key: SiteKey
) -> None:
    port = free_port()
    orthanc = start_orthanc(DicomModalities={"vitad": ["VITADMED", "127.0.0.1", port]})
    first, other = orthanc.upload(*make_folder(read_chestxray14(nih_mini, section="test")[:2], tmp_path / "dx"))
    words = ["--bundle", str(repo_root / "bundles" / "attn_synth"), "--out", str(tmp_path / "out"), "--workers", "0"]
    words += ["--port", str(port), "--study_timeout", "1", "--allow", "ORTHANC@127.0.0.1", "--send_to", orthanc.web]
    log = tmp_path / "log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "vitad_med.cli", "listen", *words],
            stdout=stream,
            stderr=subprocess.STDOUT,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
    try:

        def said(words: str) -> bool:
            assert process.poll() is None, log.read_text()
            return words in log.read_text()

        until(lambda: said("listening as VITADMED"), 120)
        orthanc.post("modalities/vitad/store", {"Resources": [first, other], "Synchronous": True})
        until(lambda: log.read_text().count("sent to the archive") == 2 or not said(""), 120)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
    by_study: dict[str, set[str]] = {}
    for series in orthanc.get("series?expand"):
        by_study.setdefault(series["ParentStudy"], set()).add(_modality(series))
    assert len(by_study) == 2
    for modalities in by_study.values():
        assert {"DX", "SR"} <= modalities
    assert "2.25." not in log.read_text()


def _modality(series: dict[str, Any]) -> str:
    return str(series["MainDicomTags"]["Modality"])
