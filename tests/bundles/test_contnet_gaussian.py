"""The bundle `contnet_gaussian`: wiring, the same bytes after an interruption, and what it refuses."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import monai.bundle
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow, verify_net_in_out
from PIL import Image

from tests.bundles.conftest import Patients
from vitad_med.bundles import plain_errors
from vitad_med.errors import ConfigError, DataError, VitadError, WeightsError
from vitad_med.networks.efficientnet_lite import PACKAGE
from vitad_med.normality.state import read_stored

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "bundles" / "contnet_gaussian"
SHIPPED = BUNDLE / "models" / "model.safetensors"
RECIPES = ("padim_resnet18", "contnet_b", "efficientnet_lite0")
# Of the embedded encoder at 32 px: 2 x 2 cells.
TINY: dict[str, Any] = {"image_size": 32, "channels_kept": 12, "batch_size": 8}


def config(name: str) -> str:
    return str(BUNDLE / "configs" / f"{name}.json")


def parser(name: str, **override: Any) -> ConfigParser:
    read = ConfigParser()
    read.read_config(config(name))
    read.update({"bundle_root": str(BUNDLE), "device": "cpu", **override})
    return read


def fit(folder: Path, **override: Any) -> Path:
    """Run train.json in this process; the model's file."""
    given = {"bundle_root": str(BUNDLE), "device": "cpu", "output_dir": str(folder), "tracking_uri": "none"}
    with plain_errors():
        monai.bundle.run(config_file=config("train"), logging_file=False, **given, **TINY | override)
    return folder / "model.safetensors"


def detector(model: Path, **override: Any) -> Any:
    """The network of evaluate.json with a fitted model."""
    with plain_errors():
        return parser("evaluate", weights=str(model), **TINY | override).get_parsed_content("network")


def write_images(folder: Path, images: list[np.ndarray]) -> dict[str, str]:
    """Overrides that name a folder of one's own pictures."""
    folder.mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number:02d}.png")
    return {"data": "image_folder", "dataset_dir": str(folder), "val_fraction": 0.0}


def noise(count: int, size: int = 32) -> list[np.ndarray]:
    draw = np.random.default_rng(2)
    return [draw.integers(0, 256, (size, size), dtype=np.uint8) for _ in range(count)]


class Interrupted(KeyboardInterrupt):
    """Stands for Ctrl-C in the middle of the pass."""


@pytest.mark.parametrize("scorer", [{}, {"scorer": "knn", "memory": "global", "coreset_size": 20}])
def test_an_interrupted_fit_goes_on_to_the_same_bytes(tmp_path: Path, scorer: dict[str, Any]) -> None:
    scorer = {**scorer, "save_every": 2}
    whole = fit(tmp_path / "whole", **scorer)
    built = parser("train", **TINY, **scorer, tracking_uri="none", output_dir=str(tmp_path / "stopped"))
    update, seen = built.get_parsed_content("fit").update, []

    def stops(features: torch.Tensor, streams: list[int]) -> None:
        if len(seen) == 5:
            raise Interrupted
        seen.append(len(features))
        update(features, streams)

    built.get_parsed_content("fit").update = stops
    with pytest.raises(Interrupted):
        built.get_parsed_content("train#trainer").run()
    path = tmp_path / "stopped" / "model.safetensors"
    assert not path.exists()
    assert read_stored(path.with_name("model.part.safetensors"), "part").batches == (4, 8)
    with pytest.raises(ConfigError, match=r"made with other settings \(batch_size: 8, now 4\).*--resume False"):
        fit(path.parent, **scorer, batch_size=4)
    assert fit(path.parent, **scorer).read_bytes() == whole.read_bytes()


@pytest.mark.parametrize(
    ("scorer", "kind"),
    [
        ({"epsilon": 0.1}, "gaussian, epsilon 0.1, images 58"),
        ({"scorer": "knn", "k": 3, "radius": 0}, "knn, k 3, radius 0, scale "),
        ({"scorer": "knn", "memory": "global", "coreset_size": 20, "candidates": 50}, "memory, scale "),
    ],
)
def test_each_scorer_is_fitted_and_told_in_the_journal(tmp_path: Path, scorer: dict[str, Any], kind: str) -> None:
    model = fit(tmp_path, **scorer)
    built = parser("evaluate", weights=str(model), **TINY)
    assert built.get_parsed_content("pipeline")["model"].startswith(kind)
    maps = built.get_parsed_content("network")(torch.rand(2, 1, 32, 32))
    assert maps.shape == (2, 1, 32, 32)
    assert 0 < float(maps.min()) < float(maps.max()) < 1


@pytest.mark.parametrize(
    ("name", "override", "kind", "part"),
    [
        ("train", {"epochs": 2}, ConfigError, "epochs is 2: a fit is one pass"),
        ("train", {"scorer": "gauss"}, ConfigError, "--scorer is 'gauss', but must be one of 'gaussian', 'knn'"),
        ("train", {"memory": "coreset"}, ConfigError, "--memory is 'coreset'"),
        ("train", {"memory": "global"}, ConfigError, "memory 'global' goes with scorer 'knn'"),
        ("train", {"epsilon": 0.0}, ConfigError, "--epsilon is 0.0, but must be greater than 0"),
        ("train", {"k": 0}, ConfigError, "--k is 0, but must be a whole number of at least 1"),
        ("train", {"neighbours": 5}, ConfigError, "unknown option '--neighbours'"),
        ("train", {"chanels_kept": 5}, ConfigError, "did you mean '--channels_kept'"),
        ("train", {"channels_kept": 0}, ConfigError, "--channels_kept is 0, but must be 'all' or a whole number"),
        ("train", {"channels_kept": 193}, ConfigError, "the features have 192 channels: use 1 to 192"),
        ("train", {"grid": "fine"}, ConfigError, "--grid is 'fine', but must be 'finest' or a whole number"),
        ("train", {"layers": 5}, ConfigError, "--layers is 5, but must be a list of whole numbers"),
        ("train", {"layers": [12]}, ConfigError, "has 12 blocks"),
        ("train", {"backbone": "contnet"}, ConfigError, "neither 'contnet_b' nor a timm name"),
        ("train", {"backbone": "contnet_b"}, WeightsError, "backbone_weights: .* no package carries trained ones"),
        ("train", {"weights": "a.pth", "backbone_weights": "timm"}, ConfigError, "both name where"),
        ("train", {"weights": "absent.safetensors"}, WeightsError, "'absent.safetensors' does not exist"),
        ("train", {"shard": "3/2"}, ConfigError, "shard is '3/2', but must be K/N"),
        ("train", {"coreset_size": 0}, ConfigError, "--coreset_size is 0"),
        ("evaluate", {"sigma": -1.0}, ConfigError, "--sigma is -1.0, but must be at least 0"),
        ("evaluate", {"score_from": "max"}, ConfigError, "--score_from is 'max', but must be one of 'final', 'raw'"),
        ("evaluate", {"weights": "absent.safetensors"}, WeightsError, "'absent.safetensors' does not exist: run train"),
        ("inference", {"scorer": "knn"}, ConfigError, "unknown option '--scorer'"),
        ("inference", {"resize": "cubic"}, ConfigError, "--resize is 'cubic'"),
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
    assert not (tmp_path / "out" / "model.safetensors").exists()


def test_an_input_size_that_contnet_cannot_take_is_refused() -> None:
    given = {"backbone": "contnet_b", "backbone_weights": "random", "image_size": 256}
    with pytest.raises(ConfigError, match=r"image_size 256 is no multiple of 224.*use 224"), plain_errors():
        parser("train", **given).get_parsed_content("network_def")


def test_contnet_is_fitted_and_scored(tmp_path: Path) -> None:
    given = {"backbone": "contnet_b", "backbone_weights": "random", "image_size": 224, "channels_kept": 4}
    torch.manual_seed(0)
    model = fit(tmp_path / "out", **write_images(tmp_path / "images", noise(3)), **given)
    stored = read_stored(model, "model")
    assert (stored.provenance.grid, stored.provenance.extractor["features"]) == ((14, 14), "pre_transition")
    torch.manual_seed(1)  # other random weights
    with pytest.raises(WeightsError, match="was fitted on features of other weights"):
        detector(model, **given)


def test_fewer_images_than_channels_are_told_and_jitter_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # No image says anything about most directions, and this epsilon does not either.
    given = write_images(tmp_path / "images", noise(5))
    with caplog.at_level(logging.WARNING):
        model = fit(tmp_path / "out", **given, epsilon=1e-20)
    assert "5 images are too few for the covariance of 12 channels: epsilon 1e-20" in caplog.text
    assert "4 of 4 covariances had no Cholesky factor until jitter of at most" in caplog.text
    assert float(read_stored(model, "model").tensors["jitter"].min()) > 0


def test_one_image_is_refused_by_a_gaussian_alone(tmp_path: Path) -> None:
    given = write_images(tmp_path / "images", noise(1))
    with pytest.raises(DataError, match="1 image has no covariance: fit on at least 2 normal images"):
        fit(tmp_path / "gaussian", **given)
    assert fit(tmp_path / "knn", **given, scorer="knn").is_file()


def test_constant_images_are_refused_and_equal_ones_fitted(tmp_path: Path) -> None:
    constant = np.full((32, 32), 90, dtype=np.uint8)
    with pytest.raises(DataError, match=r"00\.png is empty: every pixel is 0\.35.*replace the file"):
        fit(tmp_path / "constant", **write_images(tmp_path / "grey", [constant] * 4))
    (picture,) = noise(1)
    # No feature varies: epsilon alone is the covariance.
    model = detector(fit(tmp_path / "equal", **write_images(tmp_path / "copies", [picture] * 4)))
    same = torch.from_numpy(picture / np.float32(255))[None, None]
    assert float(model(same).max()) < 1e-3
    assert float(model(same.flip(3)).min()) > 0.2


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ({"image_size": 48}, "was fitted with image_size 32, here it is 48"),
        ({"channels": 3}, "was fitted with channels 1, here it is 3"),
        ({"channels_kept": 13}, "was fitted with channels_kept 12, here it is 13"),
        ({"channel_seed": 1}, "was fitted with channel_seed 0, here it is 1"),
        ({"layers": [-2]}, r"was fitted with layers \[11\], here it is \[10\]"),
        ({"grid": 1}, "was fitted with grid None, here it is 1"),
        ({"remove_image_mean": True}, "was fitted with remove_image_mean False, here it is True"),
        ({"amp": True}, "was fitted with amp False, here it is True"),
        ({"backbone": "resnet10t", "backbone_weights": "random"}, "was fitted with backbone 'vit_tiny_patch16_224'"),
    ],
)
def test_other_features_than_those_of_the_fit_are_refused(tiny: Path, override: dict[str, Any], part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        detector(tiny, **override)


def test_other_weights_than_those_of_the_fit_are_refused(tiny: Path) -> None:
    with pytest.raises(WeightsError, match="was fitted on features of other weights"):
        detector(tiny, backbone_weights="random")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fit(tmp_path_factory.mktemp("tiny"))


def test_an_evaluation_and_inference_ask_the_network_of_the_fit() -> None:
    one, other, training = (parser(name) for name in ("evaluate", "inference", "train"))
    assert one.get("network_def") == other.get("network_def")
    features = training.get("network_def")
    for key in one.get("network_def"):
        if key not in ("_target_", "weights"):
            assert one.get_parsed_content(key) == other.get_parsed_content(key)
            if key not in ("sigma", "score_from"):
                assert key in features or key == "channels"  # which a fit knows from its stream
                assert one.get_parsed_content(key) == training.get_parsed_content(key)


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("name", ["train", "evaluate", "inference"])
def test_a_recipe_stacks_on_every_config(name: str, recipe: str) -> None:
    files = [config(name), str(ROOT / "configs" / "recipes" / f"{recipe}.json")]
    files.append(str(ROOT / "configs" / "datasets" / "mvtec.json"))
    with plain_errors():
        workflow = ConfigWorkflow(files, bundle_root=str(BUNDLE), logging_file=False)
        workflow.parser.get_parsed_content("initialize::0")
    assert workflow.parser.get("data") == "mvtec"
    assert workflow.parser.get("backbone") in ("resnet18", "contnet_b", "tf_efficientnet_lite0")


def with_recipe(recipe: str, **override: Any) -> Any:
    read = ConfigParser()
    read.read_config([config("train"), str(ROOT / "configs" / "recipes" / f"{recipe}.json")])
    read.update({"bundle_root": str(BUNDLE), **override})
    with plain_errors():
        return read.get_parsed_content("network_def")


def test_recipes_are_the_published_features() -> None:
    padim = with_recipe("padim_resnet18", backbone_weights="random")
    assert (padim.channels, padim.grid_of(224)) == (100, (56, 56))
    contnet = with_recipe("contnet_b", backbone_weights="random")
    assert (contnet.channels, contnet.settings["features"]) == (768, "pre_transition")
    with pytest.raises(WeightsError, match=r"backbone_weights: .*give a checkpoint file"):
        with_recipe("contnet_b")


def test_packaged_weights_give_four_stages() -> None:
    pytest.importorskip(PACKAGE, reason="the extra `weights` is not installed")
    lite0 = with_recipe("efficientnet_lite0")
    assert (lite0.channels, lite0.grid_of(224)) == (100, (28, 28))
    assert lite0.backbone.widths == (24, 40, 112, 320)


def test_the_network_takes_and_gives_what_the_metadata_says() -> None:
    verify_net_in_out(
        "network_def",
        meta_file=str(BUNDLE / "configs" / "metadata.json"),
        config_file=config("inference"),
        device="cpu",
        bundle_root=str(BUNDLE),
    )


@pytest.mark.parametrize(("name", "workflow_type"), [("train", "train"), ("inference", "infer"), ("evaluate", "infer")])
def test_it_has_the_properties_that_monai_asks_for(name: str, workflow_type: str, tmp_path: Path, tiny: Path) -> None:
    given = {**TINY, "bundle_root": str(BUNDLE), "output_dir": str(tmp_path / "out"), "device": "cpu"}
    if name != "train":
        given["weights"] = str(tiny)
    workflow = ConfigWorkflow(config(name), workflow_type=workflow_type, logging_file=False, **given)
    workflow.initialize()
    assert workflow.check_properties() == []


def test_the_shipped_model_goes_with_the_defaults() -> None:
    shipped = read_stored(SHIPPED, "model")
    assert SHIPPED.stat().st_size < 12e6
    assert shipped.settings == {"epsilon": 0.01, "images": 845}
    assert float(shipped.tensors["jitter"].max()) == 0
    assert shipped.provenance.naming == ("public",)
    built = parser("evaluate")
    assert built.get_parsed_content("network").model.channels == 100
    assert built.get_parsed_content("pipeline")["model"] == "gaussian, epsilon 0.01, images 845"


def test_the_shipped_model_names_the_patients_of_the_fit_and_nobody_else(split_patients: Patients) -> None:
    training, held, test = split_patients
    named = read_stored(SHIPPED, "model").provenance.patients
    assert named == training
    assert not named & (held | test)
