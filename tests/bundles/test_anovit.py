"""The bundle `anovit`: wiring, repeatability through its own config, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import monai.bundle
import pytest
import torch
from ignite.engine import Events
from monai.bundle import ConfigParser, ConfigWorkflow, verify_net_in_out
from torch import Tensor

from vitad_med.bundles import plain_errors
from vitad_med.engines.setup import prepare
from vitad_med.errors import ConfigError, VitadError, WeightsError
from vitad_med.networks.anovit import AnoViT
from vitad_med.networks.autoencoder import ConvAutoencoder
from vitad_med.networks.state import save_model

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "bundles" / "anovit"
RECIPE = ROOT / "configs" / "recipes" / "anovit_vit_base.json"
TINY = {"image_size": 32, "widths": [8, 4], "strides": [2, 2, 1], "cae_input": "same", "batch_size": 29, "epochs": 3}


def config(name: str) -> str:
    return str(BUNDLE / "configs" / f"{name}.json")


def parser(name: str, **override: Any) -> ConfigParser:
    read = ConfigParser()
    read.read_config(config(name))
    read.update({"bundle_root": str(BUNDLE), "device": "cpu", **override})
    return read


class Interrupted(KeyboardInterrupt):
    """Stands for Ctrl-C in the middle of an epoch."""


def train(folder: Path, model: str, stop_after: int | None = None) -> dict[str, Tensor]:
    """Train by the bundle's config, or stop in the middle of the epoch after the last checkpoint."""
    built = parser("train", **TINY, model=model, output_dir=str(folder), tracking_uri="none")
    prepare(built.get_parsed_content("seed"))
    trainer = built.get_parsed_content("train#trainer")
    if stop_after is not None:

        @trainer.on(Events.ITERATION_COMPLETED)
        def stop(engine) -> None:
            if engine.state.iteration == stop_after * engine.state.epoch_length + 1:
                raise Interrupted

    try:
        trainer.run()
    except Interrupted:
        assert stop_after is not None
    else:
        built.get_parsed_content("best_epoch").finish()
    network = built.get_parsed_content("network")
    return {name: value.clone() for name, value in network.state_dict().items()}


@pytest.mark.parametrize("model", ["anovit", "l2_cae"])
def test_training_repeats_bit_for_bit_whole_and_resumed(model: str, tmp_path: Path) -> None:
    whole = train(tmp_path / "whole", model)
    part = train(tmp_path / "resumed", model, stop_after=1)
    assert any(not torch.equal(whole[name], part[name]) for name in whole)
    resumed = train(tmp_path / "resumed", model)
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), f"{name} differs after resuming"
    stored = [(tmp_path / run / "model.pt").read_bytes() for run in ("whole", "resumed")]
    assert stored[0] == stored[1]
    histories = [(tmp_path / run / "history.csv").read_text() for run in ("whole", "resumed")]
    assert histories[0] == histories[1]
    names, *rows = [line.split(",") for line in histories[0].splitlines()]
    assert names == ["epoch", "loss", "learning_rate", "validation_error"]
    assert [row[0] for row in rows] == ["1", "2", "3"]
    assert float(rows[2][1]) < float(rows[0][1])
    with pytest.raises(ConfigError, match=r"written with other settings \(model: "):
        train(tmp_path / "whole", "l2_cae" if model == "anovit" else "anovit")


@pytest.mark.parametrize(
    ("name", "override", "kind", "part"),
    [
        ("train", {"model": "vae"}, ConfigError, "--model is 'vae', but must be one of 'anovit', 'l2_cae'"),
        ("evaluate", {"model": "cae"}, ConfigError, "--model is 'cae'"),
        ("evaluate", {"error": "l1"}, ConfigError, "--error is 'l1', but must be one of 'l2', 'mean_squared'"),
        ("inference", {"smoothing": -1.0}, ConfigError, "--smoothing is -1.0, but must be at least 0"),
        ("train", {"cae_input": 64}, ConfigError, "--cae_input is 64, but must be one of 128, 'same'"),
        ("train", {"final_relu": "no"}, ConfigError, "--final_relu is 'no'"),
        ("train", {"reduction": "max"}, ConfigError, "--reduction is 'max'"),
        ("train", {"optimizer_name": "adam"}, ConfigError, "--optimizer_name is 'adam'"),
        ("train", {"stride": [2, 2, 1]}, ConfigError, "did you mean '--strides'"),
        ("train", {"strides": [2, 2, 2]}, ConfigError, "strides .* one for each of the 5 widths"),
        ("train", {"strides": [2, 2, 2, 2, 2, 1]}, ConfigError, "more than the patch size 16"),
        ("train", {"augment#rotation": -5.0}, ConfigError, "augmentation key 'rotation' is -5.0"),
        ("train", {"augment#flip": 0.5}, ConfigError, "unknown option '--augment#flip'"),
        ("train", {"weights": "absent.safetensors"}, WeightsError, "'absent.safetensors' does not exist"),
        ("train", {"initial_model": "absent.pt"}, WeightsError, "checkpoint 'absent.pt' does not exist"),
        ("inference", {"weights": "absent.pt"}, WeightsError, "checkpoint 'absent.pt' does not exist"),
    ],
)
def test_mistakes_are_refused_by_name(
    tmp_path: Path, name: str, override: dict[str, Any], kind: type[VitadError], part: str
) -> None:
    given = {"bundle_root": str(BUNDLE), "output_dir": str(tmp_path / "out"), "tracking_uri": "none", **override}
    if name == "inference":
        del given["tracking_uri"]
    with pytest.raises(kind, match=part), plain_errors():
        monai.bundle.run(config_file=config(name), logging_file=False, **given)
    assert not (tmp_path / "out" / "model.pt").exists()


@pytest.mark.parametrize("name", ["train", "evaluate", "inference"])
def test_one_key_chooses_the_network_in_every_config(name: str) -> None:
    for model, kind in (("anovit", AnoViT), ("l2_cae", ConvAutoencoder)):
        built = parser(name, model=model, image_size=32, cae_input="same")
        if name == "train":
            built.update({"weights": "none"})
        assert isinstance(built.get_parsed_content("network_def"), kind)
    assert isinstance(parser(name, model="l2_cae").get_parsed_content("network_def"), ConvAutoencoder)
    assert parser(name).get_parsed_content("cae_input") == 128


def test_an_evaluation_and_inference_ask_the_same_network() -> None:
    one, other = (parser(name) for name in ("evaluate", "inference"))
    assert one.get("network_def") == other.get("network_def")
    for key in one.get("network_def"):
        if key not in ("_target_", "weights"):
            assert one.get_parsed_content(key) == other.get_parsed_content(key)
            if key not in ("error", "smoothing"):
                assert one.get_parsed_content(key) == parser("train").get_parsed_content(key)


@pytest.mark.parametrize("model", ["anovit", "l2_cae"])
def test_the_network_takes_and_gives_what_the_metadata_says(model: str) -> None:
    verify_net_in_out(
        "network_def",
        meta_file=str(BUNDLE / "configs" / "metadata.json"),
        config_file=config("inference"),
        device="cpu",
        p=1,
        n=14,
        model=model,
        bundle_root=str(BUNDLE),
    )


@pytest.mark.parametrize(("name", "workflow_type"), [("train", "train"), ("inference", "infer"), ("evaluate", "infer")])
def test_it_has_the_properties_that_monai_asks_for(name: str, workflow_type: str, tmp_path: Path) -> None:
    given = {key: value for key, value in TINY.items() if name == "train" or key != "epochs"}
    given |= {"bundle_root": str(BUNDLE), "output_dir": str(tmp_path / "out"), "device": "cpu"}
    if name != "train":
        save_model(tmp_path / "model.pt", parser(name, **given).get_parsed_content("network_def"))
        given["weights"] = str(tmp_path / "model.pt")
    workflow = ConfigWorkflow(config(name), workflow_type=workflow_type, logging_file=False, **given)
    workflow.initialize()
    assert workflow.check_properties() == []


def test_the_papers_recipe_stacks_and_wants_weights(tmp_path: Path) -> None:
    files = [config("train"), str(RECIPE)]
    read = ConfigParser()
    read.read_config(files)
    assert (read.get("architecture"), read.get("image_size")) == ("vit_base_patch16_384", 384)
    augment = read.get_parsed_content("augment")
    assert (augment.horizontal_flip, augment.vertical_flip) == (0.5, 0.5)
    files.append(str(ROOT / "configs" / "datasets" / "mvtec.json"))
    with plain_errors():
        workflow = ConfigWorkflow(files, bundle_root=str(BUNDLE), logging_file=False, output_dir=str(tmp_path))
        workflow.parser.get_parsed_content("initialize::0")
    assert workflow.parser.get("data") == "mvtec"
