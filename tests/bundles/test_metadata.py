"""The metadata of every bundle: valid, complete, and in step with the package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from monai.bundle import verify_metadata
from monai.bundle.scripts import _get_fake_spatial_shape

import vitad_med
from vitad_med.bundles.metadata import read_metadata
from vitad_med.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
BUNDLES = sorted(path.parents[1] for path in ROOT.glob("bundles/*/configs/metadata.json"))
KEYS = {
    *("schema", "version", "changelog", "monai_version", "pytorch_version", "numpy_version", "authors", "copyright"),
    *("required_packages_version", "task", "description", "data_source", "data_type", "image_classes", "label_classes"),
    *("pred_classes", "eval_metrics", "intended_use", "references", "network_data_format"),
}
FILES = ("LICENSE", "configs/logging.conf", "docs/README.md", "docs/data_license.txt")


@pytest.fixture(params=BUNDLES, ids=lambda path: path.name)
def bundle(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture
def metadata(bundle: Path) -> dict[str, Any]:
    return json.loads((bundle / "configs" / "metadata.json").read_text())


def test_there_is_a_bundle() -> None:
    assert "attn_synth" in [bundle.name for bundle in BUNDLES]


def test_it_is_valid(bundle: Path) -> None:
    schema = ROOT / "tests/data/monai_meta_schema_20240725.json"
    verify_metadata(meta_file=str(bundle / "configs/metadata.json"), filepath=str(schema))


def test_the_check_can_fail(bundle: Path, metadata: dict[str, Any], tmp_path: Path) -> None:
    schema = ROOT / "tests/data/monai_meta_schema_20240725.json"
    del metadata["network_data_format"]["outputs"]
    (tmp_path / "metadata.json").write_text(json.dumps(metadata))
    with pytest.raises(ValueError, match="outputs"):
        verify_metadata(meta_file=str(tmp_path / "metadata.json"), filepath=str(schema))


def test_nothing_is_missing(bundle: Path, metadata: dict[str, Any]) -> None:
    assert metadata.keys() >= KEYS
    assert metadata["version"] in metadata["changelog"]
    assert [name for name in FILES if not (bundle / name).is_file()] == []


def test_population_and_score_rule_are_declared(metadata: dict[str, Any]) -> None:
    image = metadata["network_data_format"]["inputs"]["image"]
    assert {"modality", "body_part", "views", "ages"} <= image.keys()
    assert "score_rule" in metadata["network_data_format"]["outputs"]["pred"]
    for part in (*image["modality"], *image["views"], str(image["ages"]["youngest"]), "score"):
        assert part in metadata["intended_use"]


def test_the_network_takes_the_declared_size(metadata: dict[str, Any]) -> None:
    shape = metadata["network_data_format"]["inputs"]["image"]["spatial_shape"]
    assert _get_fake_spatial_shape(shape, n=14) == (224, 224)


def test_versions_are_the_tested_ones(metadata: dict[str, Any]) -> None:
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    required = dict(metadata["required_packages_version"])
    assert required.pop("vitad-med") == vitad_med.__version__
    required |= {
        "monai": metadata["monai_version"],
        "torch": metadata["pytorch_version"],
        "numpy": metadata["numpy_version"],
    }
    assert {name: pins.get(name) for name in required} == required


def test_metadata_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "configs").mkdir()
    for content, said in (("[]", "holds no JSON object"), ("{", "cannot be read as JSON")):
        (tmp_path / "configs" / "metadata.json").write_text(content)
        with pytest.raises(ConfigError, match=rf"metadata\.json' {said}"):
            read_metadata(tmp_path)
    with pytest.raises(ConfigError, match=r"has no configs/metadata\.json"):
        read_metadata(tmp_path / "configs")
