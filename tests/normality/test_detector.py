"""Scores and maps of a detector, from the embedded encoder on real radiographs, too."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from scipy.ndimage import gaussian_filter

from tests.normality.studies import SIZE, extractor, write_cases
from vitad_med.data.dataset import CaseDataset
from vitad_med.data.registry import read_cases
from vitad_med.data.stream import CaseStream
from vitad_med.engines.inference import AnomalyInferer
from vitad_med.errors import ConfigError, WeightsError
from vitad_med.networks.backbones import create_features
from vitad_med.normality import NormalityDetector, NormalityFitting, choose_fit, load_normality
from vitad_med.normality.kinds import create_fit, restore_model

SCORERS = [("gaussian", "position"), ("knn", "position"), ("knn", "global")]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    """A fitted file of each scorer."""
    folder = tmp_path_factory.mktemp("models")
    cases = write_cases(folder / "images", 16)
    found = {}
    for scorer, memory in SCORERS:
        path = folder / f"{scorer}_{memory}.safetensors"
        fit = choose_fit(scorer, memory, coreset_size=50, candidates=200)  # type: ignore[arg-type]
        NormalityFitting(extractor(), fit, CaseStream(cases, SIZE), path).run()
        found[scorer, memory] = path
    return found


@pytest.mark.parametrize("scorer", SCORERS)
def test_maps_and_scores(models: dict[tuple[str, str], Path], scorer: tuple[str, str]) -> None:
    images = torch.rand(3, 1, SIZE, SIZE)
    made = extractor()
    detector = NormalityDetector(made, models[scorer], SIZE, sigma=2.0)
    raw = load_normality(models[scorer], made)(made(images))
    assert raw.shape == (3, 1, 4, 4)
    up = torch.nn.functional.interpolate(raw, size=(SIZE, SIZE), mode="bilinear", align_corners=False)
    final = torch.stack([torch.from_numpy(gaussian_filter(m[0].numpy(), 2.0))[None] for m in up])
    distances = detector.distances(images)
    torch.testing.assert_close(distances.map, final, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(distances.score, final.amax(dim=(1, 2, 3)), rtol=1e-4, atol=1e-4)
    for rule, expected in (("raw", raw.amax(dim=(1, 2, 3))), ("mean", final.mean(dim=(1, 2, 3)))):
        other = NormalityDetector(made, models[scorer], SIZE, sigma=2.0, score_from=rule)  # type: ignore[arg-type]
        torch.testing.assert_close(other.distances(images).score, expected, rtol=1e-4, atol=1e-4)
    output = detector.predict(images)
    scale = detector.model.scale
    torch.testing.assert_close(output.map, final / (final + scale), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(output.score, output.map.amax(dim=(1, 2, 3)))
    assert 0 <= float(output.map.min()) <= float(output.map.max()) < 1
    assert torch.equal(detector(images), output.map)
    assert detector.features(images).shape == (3, 6)


@pytest.mark.parametrize("scorer", SCORERS)
def test_what_is_strange_stands_out_where_it_is(models: dict[tuple[str, str], Path], scorer: tuple[str, str]) -> None:
    images = 0.375 + 0.25 * torch.rand(4, 1, SIZE, SIZE)  # like those of the fit
    strange = images.clone()
    strange[:, :, 8:16, 16:24] = 1.0
    detector = NormalityDetector(extractor(), models[scorer], SIZE, sigma=1.0)
    normal, found = detector.predict(images), detector.predict(strange)
    assert bool((found.score > normal.score).all())
    for amap in found.map[:, 0]:
        row, column = divmod(int(amap.argmax()), SIZE)
        assert 8 <= row < 16
        assert 16 <= column < 24
    # An ordinary image lies near the middle of 0..1.
    assert 0.3 < float(normal.map.mean()) < 0.7


def test_another_extractor_or_size_is_refused_by_name(models: dict[tuple[str, str], Path]) -> None:
    path = models["gaussian", "position"]
    with pytest.raises(
        ConfigError, match=r"gaussian_position\.safetensors' was fitted with image_size 32, here it is 64"
    ):
        NormalityDetector(extractor(), path, 64)
    with pytest.raises(ConfigError, match="was fitted with channels 1, here it is 3"):
        NormalityDetector(extractor(), path, SIZE, image_channels=3)
    with pytest.raises(ConfigError, match="remove_image_mean False, here it is True"):
        NormalityDetector(extractor(remove_image_mean=True), path)
    with pytest.raises(WeightsError, match="features of other weights"):
        NormalityDetector(extractor(seed=9), path)
    with pytest.raises(ConfigError, match="the model was fitted on 6 on 4 x 4"):
        NormalityDetector(extractor(), path)(torch.rand(1, 1, 64, 64))


def test_bad_arguments(models: dict[tuple[str, str], Path], tmp_path: Path) -> None:
    path = models["gaussian", "position"]
    with pytest.raises(ConfigError, match="score_from 'max' is unknown"):
        NormalityDetector(extractor(), path, score_from="max")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="sigma is -1"):
        NormalityDetector(extractor(), path, sigma=-1)
    with pytest.raises(WeightsError, match="does not exist"):
        NormalityDetector(extractor(), tmp_path / "none.safetensors")


def test_training_mode_and_autocast_change_nothing(models: dict[tuple[str, str], Path]) -> None:
    images = torch.rand(2, 1, SIZE, SIZE)
    detector = NormalityDetector(extractor(), models["gaussian", "position"])
    before = detector(images)
    assert torch.equal(detector.train()(images), before)
    output = AnomalyInferer(amp=True)(images, detector)  # type: ignore[arg-type]
    assert output.map.dtype == torch.float32
    torch.testing.assert_close(output.map, before, rtol=0.05, atol=0.02)  # the features alone are in 16 bits


def test_the_default_on_radiographs(nih_mini: Path, tmp_path: Path) -> None:
    cases = read_cases("nih_chestxray14", nih_mini, "train")[:24]
    made = create_features(image_size=96, channels_kept=20)
    path = tmp_path / "model.safetensors"
    NormalityFitting(made, choose_fit(), CaseStream(cases, 96), path).run()
    detector = NormalityDetector(create_features(image_size=96, channels_kept=20), path, 96)
    images = CaseDataset(cases[:4], 96)
    seen = torch.stack([images[number]["image"] for number in range(4)])
    upside_down = seen.flip(2)
    normal, turned = detector.predict(seen), detector.predict(upside_down)
    assert normal.map.shape == (4, 1, 96, 96)
    assert bool((turned.score > normal.score).all())


def test_choices_of_scorer() -> None:
    assert choose_fit("gaussian", epsilon=0.5).settings == {"epsilon": 0.5, "double": False}
    assert choose_fit("knn", k=3, radius=0).settings == {"k": 3, "radius": 0}
    assert choose_fit("knn", "global", coreset_size=7).settings["coreset_size"] == 7
    with pytest.raises(ConfigError, match="scorer 'lof' is unknown"):
        choose_fit("lof")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="memory 'disk' is unknown"):
        choose_fit("knn", "disk")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="memory 'global' goes with scorer 'knn'"):
        choose_fit("gaussian", "global")
    with pytest.raises(WeightsError, match="kind 'lof'"):
        create_fit("lof", {})
    with pytest.raises(WeightsError, match="kind 'gaussian' with settings"):
        create_fit("gaussian", {"k": 1})
    with pytest.raises(WeightsError, match="kind 'knn' cannot be made"):
        restore_model("knn", {}, {"k": 5, "radius": 1, "scale": 1.0}, (2, 2), 4)
