"""A fit from files to file: the same from several parts or after a stop, and refused for other settings."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.normality.studies import SIZE, extractor, write_cases
from vitad_med.data.case import Case
from vitad_med.data.shards import shard_name, shard_of
from vitad_med.data.stream import CaseStream
from vitad_med.errors import ConfigError, DataError, WeightsError
from vitad_med.networks.features import FeatureExtractor
from vitad_med.normality import choose_fit, merge_parts, model_digest, write_model_of_parts
from vitad_med.normality.fitting import NormalityFitting, part_path, process_shard
from vitad_med.normality.memory import MemoryFit
from vitad_med.normality.neighbours import NeighbourFit
from vitad_med.normality.state import read_stored

SCORERS = [
    {"scorer": "gaussian"},
    {"scorer": "knn", "k": 2},
    {"scorer": "knn", "memory": "global", "coreset_size": 20, "candidates": 60},
]


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    return write_cases(tmp_path_factory.mktemp("images"), 24)


def fitting(
    path: Path,
    cases: list[Case],
    scorer: dict[str, Any] | None = None,
    made: FeatureExtractor | None = None,
    batch_size: int = 4,
    **arguments: Any,
) -> NormalityFitting:
    stream = CaseStream(cases, SIZE, batch_size)
    # Patients of folders are named under a key alone.
    key = {"identifier_key": b"secret", "save_every": 2}
    return NormalityFitting(made or extractor(), choose_fit(**(scorer or {})), stream, path, **{**key, **arguments})


@pytest.mark.parametrize("scorer", SCORERS)
def test_shards_merged_are_the_whole(tmp_path: Path, cases: list[Case], scorer: dict[str, Any]) -> None:
    whole = tmp_path / "whole.safetensors"
    digest = fitting(whole, cases, scorer).run()
    assert digest == model_digest(whole)
    parts = []
    for number in (1, 2, 3):
        path = tmp_path / f"{number}.safetensors"
        shard = shard_of(cases, f"{number}/3")
        fitting(path, shard, scorer, shard_name=shard_name(cases, f"{number}/3")).run()
        parts.append(part_path(path))
    merged = tmp_path / "merged.safetensors"
    write_model_of_parts(parts, merged)
    one, two = read_stored(whole, "model"), read_stored(merged, "model")
    assert one.settings == pytest.approx(two.settings)
    assert two.provenance.patients == one.provenance.patients
    assert len(two.provenance.patients) == 12
    assert len(two.provenance.data_digests) == len(two.provenance.shards) == 3
    for name, tensor in one.tensors.items():
        torch.testing.assert_close(two.tensors[name], tensor, rtol=1e-4, atol=1e-4)


class Killed(Exception):
    pass


@pytest.mark.parametrize("scorer", SCORERS)
def test_a_stopped_fit_goes_on_bit_by_bit(tmp_path: Path, cases: list[Case], scorer: dict[str, Any]) -> None:
    straight = tmp_path / "straight.safetensors"
    fitting(straight, cases, scorer).run()
    path = tmp_path / "stopped.safetensors"
    stopped = fitting(path, cases, scorer)
    update, taken = stopped.fit.update, []

    def dies(features: torch.Tensor, streams: list[int]) -> None:
        if len(taken) == 5:
            raise Killed
        taken.append(len(features))
        update(features, streams)

    stopped.fit.update = dies  # type: ignore[method-assign]
    with pytest.raises(Killed):
        stopped.run()
    assert not path.exists()
    assert read_stored(part_path(path), "part").batches == (4, 4)
    with pytest.raises(DataError, match="is of an unfinished fit"):
        merge_parts([part_path(path)])
    again = fitting(path, cases, scorer)
    seen: list[int] = []
    update_again = again.fit.update
    again.fit.update = lambda f, s: (seen.append(len(f)), update_again(f, s))  # type: ignore[method-assign]
    assert again.run() == model_digest(straight)
    assert seen == [4, 4]  # of six batches, four were kept
    assert path.read_bytes() == straight.read_bytes()
    finished = fitting(path, cases, scorer)
    finished.fit.update = lambda f, s: pytest.fail("there is nothing left to fit")  # type: ignore[method-assign]
    assert finished.run() == model_digest(straight)


@pytest.mark.parametrize("scorer", SCORERS)
def test_what_was_stored_goes_to_the_device_of_the_features(
    tmp_path: Path, cases: list[Case], scorer: dict[str, Any]
) -> None:
    """The device `meta` holds no values, but tensors of two devices join no more there than on a GPU."""
    path = tmp_path / "model.safetensors"
    fitting(path, cases, scorer).run()
    again = fitting(path, cases, scorer)
    again.extractor.to("meta")
    assert again._take_up(part_path(path)) == 6
    devices = {name: tensor.device.type for name, tensor in again.fit.tensors().items()}
    # Draws are made on the CPU, for the same on every device.
    assert {name for name, device in devices.items() if device == "cpu"} <= {"grid", "count", "ranks"}
    assert "meta" in devices.values()
    if isinstance(again.fit, MemoryFit):
        again.fit.candidates = None  # a choice among patches is of values, which there are none of
        small = torch.zeros(1, dtype=torch.int64)
        again.fit._keep(torch.empty(1, 6, device="meta"), small, again.fit.grid)
        assert int(again.fit._ranks[0]) == 0
    elif isinstance(again.fit, NeighbourFit):
        again.fit._add(torch.empty(16, 1, 6, device="meta"), again.fit.grid)
        assert again.fit.tensors()["bank"].shape == (16, 25, 6)


def test_a_part_of_other_settings_is_not_gone_on_with(tmp_path: Path, cases: list[Case]) -> None:
    path = tmp_path / "model.safetensors"
    fitting(path, cases).run()
    for other, key in (
        (fitting(path, cases, {"epsilon": 0.1}), "epsilon: 0.01, now 0.1"),
        (fitting(path, cases, {"scorer": "knn"}), "scorer: 'gaussian', now 'knn'"),
        (fitting(path, cases, batch_size=8), "batch_size: 4, now 8"),
        (fitting(path, cases, made=extractor(channels_kept=2)), "extractor channels_kept: None, now 2"),
        (fitting(path, cases, made=extractor(seed=3)), "extractor_digest: "),
        (fitting(path, cases[2:]), "images: others, now these"),
    ):
        with pytest.raises(ConfigError, match=key):
            other.run()
    fitting(path, cases[2:], resume=False).run()
    assert read_stored(path, "model").settings["images"] == 22


def test_parts_that_do_not_go_together_are_named(tmp_path: Path, cases: list[Case]) -> None:
    def part(name: str, some: list[Case], scorer: dict[str, Any] | None = None, **arguments: Any) -> Path:
        fitting(tmp_path / f"{name}.safetensors", some, scorer, **arguments).run()
        return part_path(tmp_path / f"{name}.safetensors")

    first = part("first", cases[:12])
    with pytest.raises(DataError, match="name at least one file"):
        merge_parts([])
    with pytest.raises(DataError, match="are in two of the parts"):
        merge_parts([first, first])
    with pytest.raises(DataError, match="1 patients of part 2 are in an earlier one"):
        merge_parts([first, part("overlapping", cases[10:])])
    rest = cases[12:]
    for name, arguments, message in (
        ("epsilon", {"scorer": {"epsilon": 0.5}}, "parts 1 and 2 cannot be merged: epsilon is 0.01 in the one and 0.5"),
        ("scorer", {"scorer": {"scorer": "knn"}}, "scorer is 'gaussian' in the one and 'knn'"),
        ("weights", {"made": extractor(seed=2)}, "extractor_digest is"),
        ("width", {"made": extractor(5)}, "channels is 6 in the one and 5"),
    ):
        with pytest.raises(ConfigError, match=message):
            merge_parts([first, part(name, rest, **arguments)])  # type: ignore[arg-type]
    unnamed = part("unnamed", rest, identifier_key=None)
    with pytest.raises(DataError, match="name their patients in no common way"):
        merge_parts([first, unnamed])
    with pytest.raises(WeightsError, match="is a fitted model, not a part"):
        merge_parts([tmp_path / "first.safetensors"])


def test_parts_with_another_epsilon_are_one_fit(tmp_path: Path, cases: list[Case]) -> None:
    """It is added to variances when a fit ends, so what was collected is the same."""
    paths = []
    for number, epsilon in enumerate((0.01, 0.5)):
        path = tmp_path / f"{number}.safetensors"
        fitting(path, cases[12 * number :][:12], {"epsilon": epsilon}).run()
        paths.append(part_path(path))
    with pytest.raises(
        ConfigError, match=r"epsilon is 0\.01 in the one and 0\.5 in the other; say which with --epsilon"
    ):
        merge_parts(paths)
    fitting(tmp_path / "whole.safetensors", cases[:24], {"epsilon": 0.1}).run()
    write_model_of_parts(paths, tmp_path / "merged.safetensors", epsilon=0.1)
    whole, merged = (read_stored(tmp_path / f"{name}.safetensors", "model") for name in ("whole", "merged"))
    assert whole.settings == merged.settings
    for name, tensor in whole.tensors.items():
        torch.testing.assert_close(merged.tensors[name], tensor, rtol=1e-4, atol=1e-4)
    with pytest.raises(ConfigError, match="epsilon is -1"):
        merge_parts(paths, epsilon=-1.0)
    with pytest.raises(ConfigError, match="epsilon is 0: give a number greater than 0"):
        merge_parts(paths, epsilon=0.0)
    fitting(tmp_path / "knn.safetensors", cases[:12], {"scorer": "knn"}).run()
    with pytest.raises(ConfigError, match="--epsilon does not apply to parts of a fit of kind 'knn'"):
        merge_parts([part_path(tmp_path / "knn.safetensors")], epsilon=0.1)


def test_patients_without_a_key_are_not_named(
    tmp_path: Path, cases: list[Case], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        fitting(tmp_path / "m.safetensors", cases, identifier_key=None).run()
    assert "--identifier_key_file" in caplog.text
    assert read_stored(tmp_path / "m.safetensors", "model").provenance.patients == frozenset()


def test_one_image_and_few_images(tmp_path: Path, cases: list[Case], caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(DataError, match="1 image has no covariance"):
        fitting(tmp_path / "one.safetensors", cases[:1]).run()
    assert not (tmp_path / "one.safetensors").exists()
    with caplog.at_level(logging.WARNING):
        fitting(tmp_path / "few.safetensors", cases[:5]).run()
    assert "5 images are too few for the covariance of 6 channels" in caplog.text


def test_bad_arguments(tmp_path: Path, cases: list[Case]) -> None:
    with pytest.raises(ConfigError, match="save_every is 0"):
        fitting(tmp_path / "m.safetensors", cases, save_every=0)
    with pytest.raises(ConfigError, match="no multiple of 8"):
        NormalityFitting(extractor(), choose_fit(), CaseStream(cases, 36), tmp_path / "m.safetensors")


def test_shares_of_a_shard() -> None:
    assert process_shard("2/3") == "2/3"  # alone
    with pytest.raises(ConfigError, match=r"shard is 'half', but must be K/N"):
        process_shard("half")


def test_processes_fit_what_one_does(tmp_path: Path, cases: list[Case]) -> None:
    worker = Path(__file__).with_name("process_worker.py")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(worker)]
    environ = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    done = subprocess.run(
        [*launch, str(cases[0].image_path.parent), str(tmp_path)],
        env=environ,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    shares = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    assert [share["shard"] for share in shares] == ["3/4", "4/4"]  # of the second half
    shard = shard_of(cases, "2/2")
    assert sorted(shares[0]["seen"] + shares[1]["seen"]) == sorted(case.case_id for case in shard)
    alone = tmp_path / "alone.safetensors"
    fitting(alone, shard).run()
    one, two = read_stored(alone, "model"), read_stored(tmp_path / "model.safetensors", "model")
    assert one.settings == two.settings
    for name, tensor in one.tensors.items():
        torch.testing.assert_close(two.tensors[name], tensor, rtol=1e-4, atol=1e-4)
