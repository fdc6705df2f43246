"""Source statistics by MONAI's own command, beside the other runs of an experiment."""

from __future__ import annotations

from pathlib import Path

import mlflow
import pytest

from vitad_med.adaptation.statistics import read_statistics
from vitad_med.networks.proxy import ProxyNetwork
from vitad_med.networks.state import load_model, save_model

SIZE = ("--image_size", "64")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.pt"
    save_model(path, ProxyNetwork("vit_tiny_patch16_224", "none", 64, head_hidden=512, detail_width=24))
    return path


def test_it_writes_the_statistics_and_is_tracked_under_the_given_names(bundle_run, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    options = ("--output_dir", str(out), "--weights", str(model), "--experiment", "table 3", "--run_name", "source")
    bundle_run("summarize.json", *SIZE, *options, cwd=tmp_path)
    found = read_statistics(out / "statistics.safetensors")
    network = ProxyNetwork("vit_tiny_patch16_224", "none", 64, head_hidden=512, detail_width=24)
    assert found.model_digest == load_model(model, network)
    assert found.pipeline["image_size"] == found.image_size == 64
    assert not list(out.glob("*.tmp")) + list(out.glob(".*.tmp"))

    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{out / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("table 3")
    assert experiment is not None
    [run] = client.search_runs([experiment.experiment_id])
    assert run.info.run_name == "source"
    assert run.data.metrics["images_synthetic"] == found.count[1]
    assert 0 < run.data.metrics["entropy_normal"] <= 1


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (("--statistics_views", "local"), "'full_frame', 'global'"),
        (("--shard", "0/2"), "shard is '0/2'"),
        (("--statistic_views", "global"), "did you mean '--statistics_views'"),
        (("--architecture", "vit_small_patch16_224"), "does not fit this network"),
    ],
)
def test_a_mistake_is_one_sentence(
    bundle_run, model: Path, tmp_path: Path, options: tuple[str, ...], named: str
) -> None:
    given = ("--output_dir", str(tmp_path / "out"), "--weights", str(model), "--tracking_uri", "none")
    done = bundle_run("summarize.json", *SIZE, *given, *options, cwd=tmp_path, status=2)
    assert named in done.stderr
    assert not (tmp_path / "out" / "statistics.safetensors").exists()
