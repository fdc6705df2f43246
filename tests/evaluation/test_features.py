"""Features by type on real radiographs: who is in which group, what the table names, and what colours mean."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vitad_med.data.case import Case
from vitad_med.data.registry import read_cases
from vitad_med.engines.proxy_task import Scorer
from vitad_med.errors import ConfigError, DataError
from vitad_med.evaluation.feature_picture import ABNORMAL, MAX_TYPES, NORMAL, SYNTHETIC
from vitad_med.evaluation.features import (
    OTHER,
    SEVERAL,
    FeatureSet,
    collect_features,
    figure_lines,
    pair_figures,
    picture_groups,
    write_features,
)
from vitad_med.networks.proxy import ProxyNetwork
from vitad_med.synthesis import AttnSynth

SIZE = 64


@pytest.fixture(scope="module")
def network() -> ProxyNetwork:
    torch.manual_seed(0)
    return ProxyNetwork(image_size=SIZE, head_hidden=16, detail_width=4)


@pytest.fixture(scope="module")
def cases(nih_mini: Path) -> list[Case]:
    return read_cases("nih_chestxray14", nih_mini, "test")


@pytest.fixture(scope="module")
def found(network: ProxyNetwork, cases: list[Case]) -> FeatureSet:
    return collect_features(network, cases, Scorer(image_size=SIZE), AttnSynth(), SIZE, limit=12)


def test_every_normal_image_has_a_synthetic_copy_of_its_own_patient(found: FeatureSet) -> None:
    assert found.groups == (NORMAL,) * 12 + (SYNTHETIC,) * 12 + (ABNORMAL,) * 12
    assert found.features.shape == (36, 192)
    assert found.cases[:12] == found.cases[12:24]
    assert all(case.label == 1 for case in found.cases[24:])
    # Each has features of its own: a copy differs from its image.
    assert len(np.unique(found.features.round(5), axis=0)) == 36


def test_features_are_what_the_head_classifies(network: ProxyNetwork) -> None:
    images = torch.rand(2, 1, SIZE, SIZE)
    network.eval()
    with torch.no_grad():
        assert torch.equal(network.head(network.features(images)), network.train_outputs(images).logits)


def test_files_repeat_and_name_published_images(network: ProxyNetwork, cases: list[Case], tmp_path: Path) -> None:
    written = []
    for name in ("first", "second"):
        content = write_features(
            network, cases, Scorer(image_size=SIZE), AttnSynth(), tmp_path / name, SIZE, limit=12, model="tiny"
        )
        written.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert written[0] == written[1]
    assert written[0].keys() == {"features.png", "features.csv", "features.json"}
    rows = list(csv.DictReader(written[0]["features.csv"].decode().splitlines()))
    assert len(rows) == 36
    assert rows[0]["case_id"] == rows[12]["case_id"] in {case.case_id for case in cases}
    assert rows[12]["group"] == SYNTHETIC
    assert json.loads(written[0]["features.json"]) == content
    assert content["images"] == {NORMAL: 12, SYNTHETIC: 12, ABNORMAL: 12}
    assert [entry["groups"] for entry in content["separability"]] == [
        [NORMAL, SYNTHETIC],
        [NORMAL, ABNORMAL],
        [SYNTHETIC, ABNORMAL],
    ]
    assert 0 <= content["separability"][1]["metadata_alone"] <= 1
    assert "age, sex and view alone" in figure_lines(content)[1]


def test_a_hospitals_patients_are_never_named(network: ProxyNetwork, nih_mini: Path, tmp_path: Path) -> None:
    folder = tmp_path / "ward"
    for number, path in enumerate(sorted((nih_mini / "images").iterdir())[:6]):
        patient = folder / f"DOE^JOHN{number}"
        patient.mkdir(parents=True)
        shutil.copy(path, patient / f"scan{number}.jpg")
    cases = read_cases("image_folder", folder, "all")
    arguments = (network, cases, Scorer(image_size=SIZE), AttnSynth(), tmp_path / "out", SIZE)
    with pytest.raises(ConfigError, match="--identifier_key_file"):
        write_features(*arguments)
    assert not (tmp_path / "out").exists()
    key = tmp_path / "site.key"
    key.write_text("7d1e" * 16)
    content = write_features(*arguments, identifier_key_file=key)
    assert content["images"] == {NORMAL: 6, SYNTHETIC: 6}
    for path in (tmp_path / "out").iterdir():
        assert b"DOE" not in path.read_bytes(), path.name
        assert b"scan" not in path.read_bytes(), path.name


def test_without_normal_images_there_is_nothing_to_compare(network: ProxyNetwork, cases: list[Case]) -> None:
    abnormal = [case for case in cases if case.label == 1]
    with pytest.raises(DataError, match="No image is normal"):
        collect_features(network, abnormal, Scorer(image_size=SIZE), AttnSynth(), SIZE)


def test_a_copy_and_its_image_are_in_one_fold(found: FeatureSet) -> None:
    """Features that tell patients and nothing else separate no group from its own copies."""
    own = {patient: row for row, patient in enumerate(dict.fromkeys(case.patient_id for case in found.cases))}
    rng = np.random.default_rng(0)
    table = rng.normal(size=(len(own), 32)).astype(np.float32)
    features = table[[own[case.patient_id] for case in found.cases]]
    entry = pair_figures(replace(found, features=features))[0]
    assert entry["groups"] == [NORMAL, SYNTHETIC]
    assert entry["linear"] == entry["neighbours"] == 0.5


def test_one_patient_gives_a_reason_and_no_figure(found: FeatureSet) -> None:
    cases = tuple(replace(case, patient_id="one") for case in found.cases)
    figures = pair_figures(replace(found, cases=cases))
    assert all("two of each group" in entry["reason"] for entry in figures)
    assert "no figure" in figure_lines({"separability": figures})[0]


def test_abnormal_images_can_be_shown_by_finding(found: FeatureSet) -> None:
    def named(findings: list[tuple[str, ...]]) -> list[str]:
        cases = [replace(case, findings=kind) for case, kind in zip(found.cases[24:], findings, strict=True)]
        return picture_groups(replace(found, cases=(*found.cases[:24], *cases)), "finding")[24:]

    few = named([("Mass",)] * 6 + [("Mass", "Nodule")] * 5 + [()])
    assert few == ["Mass"] * 6 + [SEVERAL] * 5 + [OTHER]
    many = named([(f"kind {number}",) for number in range(9)] + [("kind 0",)] * 3)
    assert len(set(many)) == MAX_TYPES
    assert many[0] == "kind 0"
    assert OTHER in many
    assert picture_groups(found, "group") == list(found.groups)


def test_an_unknown_colouring_is_refused(network: ProxyNetwork, cases: list[Case], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="by is 'sex'"):
        write_features(network, cases, Scorer(image_size=SIZE), AttnSynth(), tmp_path, SIZE, by="sex")  # type: ignore[arg-type]
