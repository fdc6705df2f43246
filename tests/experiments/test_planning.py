"""Steps are shared where their results are the same, and only there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import vitad_med.experiments.planning as planning
from vitad_med.errors import ConfigError
from vitad_med.experiments import Plan, plan, read_experiment
from vitad_med.experiments.contents import folder_digest

Planned = Callable[..., Plan]


def ids(made: Plan, step: str) -> dict[tuple[str, int], str]:
    return {(context.row.name, context.seed): context.steps[step] for context in made.contexts if step in context.steps}


def test_rows_share_the_steps_that_are_the_same(content: dict[str, Any], planned: Planned) -> None:
    made = planned(content)
    train, evaluate = ids(made, "train"), ids(made, "evaluate")
    assert train["low", 0] == train["doubled", 0] != train["high", 0]
    assert train["low", 0] != train["low", 1]
    assert evaluate["low", 0] != evaluate["doubled", 0]
    # Nothing in this row draws from the seed.
    assert evaluate["shipped", 0] == evaluate["shipped", 1]
    assert len(made.steps) == 4 + 6 + 1


def test_a_step_runs_after_those_it_needs(content: dict[str, Any], planned: Planned) -> None:
    made = planned(content)
    order = list(made.steps)
    for step in made.steps.values():
        assert all(order.index(needed) < order.index(step.id) for needed in step.needs.values())
    step = made.steps[ids(made, "evaluate")["low", 0]]
    assert step.needs == {"train": ids(made, "train")["low", 0]}
    assert step.arguments(Path("/out"))["weights"] == f"/out/steps/{step.needs['train']}/model.json"


def test_the_digest_reacts_to_everything_that_decides_the_result(
    content: dict[str, Any], planned: Planned, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stacked = repository / "configs" / "more.json"
    stacked.parent.mkdir()
    stacked.write_text('{"rate": 0.5}')
    content["steps"]["train"]["config"] = ["train.json", "configs/more.json"]
    content["steps"]["train"]["overrides"]["block#width"] = 3

    def now() -> dict[str, str]:
        made = planned(content)
        places = (("train", "low"), ("evaluate", "low"), ("evaluate", "shipped"))
        return {f"{step} {row}": ids(made, step)[row, 0] for step, row in places}

    before = now()
    assert now() == before

    def reacts(*expected: str) -> None:
        nonlocal before
        after = now()
        assert {place for place in before if before[place] != after[place]} == set(expected)
        before = after

    content["steps"]["train"]["overrides"]["block#width"] = 4
    reacts("train low", "evaluate low")
    content["rows"]["low"]["overrides"] = {"evaluate": {"scale": 3.0}}
    reacts("evaluate low")
    content["data"]["first"]["overrides"] = {"train": {"steps": 3}}
    reacts("train low", "evaluate low")
    stacked.write_text('{"rate": 0.25}')
    reacts("train low", "evaluate low")
    own = repository / "bundles" / "tiny" / "configs" / "evaluate.json"
    own.write_text(json.dumps({**json.loads(own.read_text()), "extra": 1}))
    reacts("evaluate low", "evaluate shipped")
    (repository / "bundles" / "tiny" / "models" / "model.json").write_text('{"value": 0.5}')
    reacts("evaluate shipped")
    content["data"]["first"]["dataset_dir"] = "more"
    reacts()  # the same content at another place
    (repository / "more" / "image.png").write_bytes(b"x")
    reacts(*before)
    content["data"] = {"renamed": content["data"]["first"], "second": content["data"]["second"]}
    for row in content["rows"].values():
        row["data"] = ["renamed"]
    reacts(*before)
    monkeypatch.setattr(planning, "__version__", "9")
    reacts(*before)
    # What is said about the rows decides nothing.
    content["title"], content["rows"]["low"]["label"] = "Other", "other"
    reacts()


def test_a_default_model_of_the_bundle_counts_too(content: dict[str, Any], planned: Planned, repository: Path) -> None:
    del content["rows"]["shipped"]["overrides"]
    content["steps"]["evaluate"]["overrides"] = {}
    before = ids(planned(content), "evaluate")["shipped", 0]
    (repository / "bundles" / "tiny" / "models" / "model.json").write_text('{"value": 0.75}')
    assert ids(planned(content), "evaluate")["shipped", 0] != before


def test_a_file_that_an_override_names_counts_by_its_content(
    content: dict[str, Any], planned: Planned, repository: Path
) -> None:
    other = repository / "other.json"
    other.write_text('{"value": 1}')
    content["rows"]["shipped"]["overrides"]["evaluate"]["weights"] = str(other)
    before = ids(planned(content), "evaluate")["shipped", 0]
    assert ids(planned(content), "evaluate")["shipped", 0] == before
    other.write_text('{"value": 22}')
    assert ids(planned(content), "evaluate")["shipped", 0] != before


def test_the_place_of_the_repository_does_not_matter(
    content: dict[str, Any], write: Callable[[dict[str, Any]], Path], repository: Path
) -> None:
    content["data"]["first"]["dataset_dir"] = str(repository / "images")
    file = write(content)
    copied = shutil.copytree(repository, repository.parent / "copy") / file.name
    assert list(plan(read_experiment(file), {}).steps) == list(plan(read_experiment(copied), {}).steps)


def test_the_place_of_the_data_does_not_matter_and_the_folder_is_listed_once(
    content: dict[str, Any], planned: Planned, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository / "images" / "1.png").write_bytes(b"1")
    before = list(planned(content).steps)
    moved = shutil.copytree(repository / "images", repository.parent / "moved")
    content["data"]["first"]["dataset_dir"] = str(moved)
    listed: list[Path] = []

    def counted(folder: Path) -> str:
        listed.append(folder)
        return folder_digest(folder)

    monkeypatch.setattr(planning, "folder_digest", counted)
    made = planned(content)
    assert list(made.steps) == before
    assert listed == [moved]
    text = json.dumps([step.inputs for step in made.steps.values()])
    assert str(repository.parent) not in text
    (moved / "2.png").write_bytes(b"1")
    assert not set(before) & set(planned(content).steps)


def test_steps_of_some_data_only_and_steps_with_data_of_their_own(content: dict[str, Any], planned: Planned) -> None:
    content["rows"] = {"low": {**content["rows"]["low"], "data": ["first", "second"]}}
    content["steps"]["train"] |= {"only": ["second"], "data": "first"}
    content["data"]["first"]["overrides"] = {
        "train": {"rate": 0.9},
        "evaluate": {"weights": "{bundle}/models/model.json"},
    }
    made = planned(content)
    chains = {context.data.name: list(context.steps) for context in made.contexts}
    assert chains == {"first": ["evaluate"], "second": ["train", "evaluate"]}
    train = next(step for step in made.steps.values() if step.name == "train")
    assert (train.dataset_dir.name, train.settings["rate"]) == ("images", 0.9)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({"rates": 1}, r"step 'train' in row 'low' on 'first': unknown option '--rates'.*did you mean '--rate'\?"),
        ({"block#widht": 1}, r"'--block#widht'.*did you mean '--block#width'\?"),
        ({"block": {"width": 1, "height": 2}}, "block#height"),
        ({"block": 3}, "puts one value in place of the block 'block'"),
        ({"steps": "three"}, "--steps is 'three', but must be a whole number"),
        ({"rate": True}, "--rate is True"),
    ],
)
def test_keys_and_types_are_the_bundles(
    content: dict[str, Any], planned: Planned, overrides: dict[str, Any], expected: str
) -> None:
    content["steps"]["train"]["overrides"] = overrides
    with pytest.raises(ConfigError, match=expected):
        planned(content)


def test_missing_files_and_folders_are_named(content: dict[str, Any], planned: Planned, repository: Path) -> None:
    content["steps"]["train"]["config"] = ["train.json", "configs/absent.json"]
    with pytest.raises(ConfigError, match=r"configs/absent\.json' does not exist"):
        planned(content)
    content["steps"]["train"]["config"] = ["trian.json"]
    with pytest.raises(ConfigError, match=r"trian\.json"):
        planned(content)
    content["steps"]["train"]["config"] = ["train.json"]
    content["data"]["first"]["dataset_dir"] = "absent"
    with pytest.raises(ConfigError, match="does not exist: give --data first=DIR"):
        planned(content)


def test_a_data_folder_is_needed_for_the_rows_that_run_only(
    content: dict[str, Any], write: Callable[[dict[str, Any]], Path], repository: Path
) -> None:
    del content["data"]["second"]["dataset_dir"]
    content["rows"]["low"]["data"] = ["first", "second"]
    experiment = read_experiment(write(content))
    with pytest.raises(ConfigError, match="give --data second=DIR"):
        plan(experiment, {})
    made = plan(experiment, {}, ("high",))
    assert [context.steps for context in made.contexts if context.data.name == "second"] == [{}, {}]
    assert len(plan(experiment, {"second": str(repository)}).contexts) == 10
    with pytest.raises(ConfigError, match="--data thrid: no such data set"):
        plan(experiment, {"thrid": "x"})
    with pytest.raises(ConfigError, match=r"--rows hihg: no such row; did you mean 'high'\?"):
        plan(experiment, {}, ("hihg",))


def test_settings_of_private_data_name_no_folder(content: dict[str, Any], planned: Planned) -> None:
    assert all(step.settings["dataset_dir"] != "withheld" for step in planned(content).steps.values())
    content["steps"]["train"]["overrides"]["data"] = "image_folder"
    made = planned(content)
    private = [step for step in made.steps.values() if step.name == "train"]
    assert all(step.settings["dataset_dir"] == "withheld" and not step.public for step in private)


def test_the_papers_keys_must_exist(content: dict[str, Any], planned: Planned) -> None:
    content["paper"] = {"title": "P", "settings": {"train": {"raet": 1}}}
    with pytest.raises(ConfigError, match=r"paper\.settings\.train\.raet is no key"):
        planned(content)
