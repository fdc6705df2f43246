"""The whole way by commands: sent to Orthanc, fetched, scored, results stored back and listed under the study."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from scripts.make_dx import make_folder
from tests.pacs.conftest import Orthanc, uid
from vitad_med.cli import main
from vitad_med.data.chestxray14 import read_chestxray14


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["uncompressed", "jpegls"])
@pytest.mark.usefixtures("signed_in")
def test_send_fetch_score_send(
    orthanc: Orthanc, nih_mini: Path, repo_root: Path, tmp_path: Path, encoding: str
) -> None:
    made = make_folder(read_chestxray14(nih_mini, section="test")[:3], tmp_path / "dx")
    assert main(["send", str(tmp_path / "dx"), "--to", orthanc.web]) == 0
    assert len(orthanc.instances()) == len(made)

    incoming, out = tmp_path / "incoming", tmp_path / "out"
    studies = []
    for study in orthanc.get("studies?expand"):
        studies += ["--study", study["MainDicomTags"]["StudyInstanceUID"]]
    assert main(["fetch", orthanc.web, "--out", str(incoming), *studies]) == 0
    assert len(list(incoming.glob("*.dcm"))) == len(made)

    bundle = str(repo_root / "bundles" / "attn_synth")
    words = ["score", str(incoming), "--bundle", bundle, "--out", str(out), "--workers", "0", "--outputs", "sc,sr"]
    assert main([*words, "--encoding", encoding]) == 0
    assert main(["send", str(out / "dicom"), "--to", orthanc.web]) == 0

    for study in orthanc.get("studies?expand"):
        modalities = [orthanc.get(f"series/{series}")["MainDicomTags"]["Modality"] for series in study["Series"]]
        assert sorted(modalities) == ["DX", "OT", "SR"]
        assert all(len(orthanc.get(f"series/{series}")["Instances"]) == 1 for series in study["Series"])

    for path in (out / "dicom" / "sc").glob("*.dcm"):
        with Image.open(io.BytesIO(orthanc.preview(uid(path)))) as shown:
            np.testing.assert_array_equal(np.asarray(shown), pydicom.dcmread(path).pixel_array)

    # Results are known again: they come back with the radiographs, and scoring sets them aside.
    again, second = tmp_path / "again", tmp_path / "second"
    assert main(["fetch", orthanc.web, "--out", str(again), "--modality", "DX,OT,SR", *studies]) == 0
    words = ["score", str(again), "--bundle", bundle, "--out", str(second), "--workers", "0", "--outputs", "worklist"]
    assert main(words) == 0
    assert (second / "worklist.csv").read_text().count("own_output") == 2 * len(made)
