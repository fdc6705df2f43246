"""What scoring takes from a bundle is what its evaluation uses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vitad_med.errors import ConfigError
from vitad_med.scoring.bundle import load_bundle


@pytest.mark.parametrize(("name", "side"), [("attn_synth", 224), ("apmask", 512)])
def test_images_are_read_at_the_size_of_an_evaluation(repo_root: Path, name: str, side: int) -> None:
    config = json.loads((repo_root / "bundles" / name / "configs" / "evaluate.json").read_text())
    bundle = load_bundle(repo_root / "bundles" / name)
    assert bundle.image_size == side
    assert bundle.channels == config["channels"]


def test_a_key_that_the_config_lacks_is_refused(repo_root: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean '--image_size'"):
        load_bundle(repo_root / "bundles" / "attn_synth", {"image_sise": 224})
