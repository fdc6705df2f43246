"""An experiment file is checked before anything runs, and scales are laid over it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vitad_med.errors import ConfigError
from vitad_med.experiments import Plan, plan, read_experiment
from vitad_med.experiments.reading import merged

Write = Callable[[dict[str, Any]], Path]

ROOT = Path(__file__).resolve().parents[2]
PAPER = {"title": "P", "settings": {}, "figures": []}


def changed(content: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for key in parents:
        content = content.setdefault(key, {})
    content[last] = value


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("schema", "vitad_med/experiment/9", r"schema .* must be 'vitad_med/experiment/1'"),
        ("titel", "x", r"titel is unknown; did you mean 'title'\?"),
        ("title", "", r"title is \"\", but must be text"),
        ("seeds_vary", 3, r"seeds_vary is 3, but must be text"),
        ("seeds_vari", "x", r"seeds_vari is unknown; did you mean 'seeds_vary'\?"),
        ("seeds", [0, 0], r"seeds .* different whole numbers"),
        ("seeds", [0.5], r"seeds .* different whole numbers"),
        ("steps.train.bundel", "x", r"steps\.train\.bundel is unknown; did you mean 'bundle'\?"),
        ("steps.train.only", ["thrid"], r"steps\.train\.only names the data set 'thrid'"),
        ("steps.train.data", "firts", r"names the data set 'firts'.*did you mean 'first'\?"),
        ("steps.train.config", ["configs/x.json"], r"steps\.train\.config .* begins with a file of the bundle"),
        ("steps.train.overrides", {"rate": None}, r"overrides\.rate is null.* cannot be null"),
        ("steps.train.overrides", {"output_dir": "x"}, r"sets 'output_dir', which the experiment runner sets itself"),
        ("steps.train.overrides", {"rate": "{sed}"}, r"has '\{sed\}'; did you mean 'seed'\?"),
        ("steps.seed", {"bundle": "b", "config": "train.json"}, r"\{seed\} means something else"),
        ("rows.low.steps", ["trian"], r"rows\.low\.steps names the step 'trian'.*did you mean 'train'\?"),
        ("rows.low.steps", ["evaluate", "train"], r"needs the result of 'train', which does not come before it"),
        ("rows.low.steps", ["evaluate"], r"needs the result of 'train'"),
        ("rows.low.overrides", {"tarin": {}}, r"rows\.low\.overrides names the step 'tarin'"),
        ("rows.low.overrides", {"train": 3}, r"rows\.low\.overrides\.train is 3"),
        ("rows.low.data", ["frist"], r"rows\.low\.data names the data set 'frist'"),
        ("rows.low.column", "online", r"rows\.low\.column names the column 'online'"),
        ("columns", {"online": "Online"}, r"rows\.low\.column is null, but must be one of 'online'"),
        ("rows.high.label", "low rate", r"rows\.high and rows\.low have the same label 'low rate'"),
        ("rows.a b", {"steps": ["train"]}, r"rows\.a b is no name"),
        ("metrics.auroc.step", "evaluat", r"metrics\.auroc\.step names the step 'evaluat'"),
        ("metrics.auroc.format", "3d", r"metrics\.auroc\.format"),
        ("metrics.auroc.file", "../metrics.json", r"a path inside the step's folder"),
        (
            "paper",
            {**PAPER, "figures": [{"row": "lwo", "metric": "auroc", "value": 1}]},
            r"figures\[0\].row names the row",
        ),
        ("paper", {**PAPER, "figures": [{"row": "low", "metric": "auroc"}]}, r"figures\[0\].value is null"),
        ("paper", {**PAPER, "settings": {"tain": {}}}, r"paper\.settings names the step 'tain'"),
        ("scales", {"small": {"rowz": {}}}, r"scales\.small\.rowz is unknown; did you mean 'rows'\?"),
        ("scales", {"small": {"rows": {"low": {"steps": ["tran"]}}}}, r"rows\.low\.steps names the step 'tran'"),
    ],
)
def test_a_mistake_is_one_sentence(content: dict[str, Any], write: Write, path: str, value: Any, expected: str) -> None:
    changed(content, path, value)
    file = write(content)
    with pytest.raises(ConfigError, match=expected) as caught:
        read_experiment(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_key_that_occurs_twice_is_refused(repository: Path) -> None:
    file = repository / "twice.json"
    file.write_text('{"rows": {"a": {}, "a": {}}}')
    with pytest.raises(ConfigError, match="has the key 'a' twice"):
        read_experiment(file)


@pytest.mark.parametrize(("text", "expected"), [("{", "is not JSON"), ("[]", "holds no JSON object")])
def test_a_file_that_is_no_object_is_refused(repository: Path, text: str, expected: str) -> None:
    (repository / "x.json").write_text(text)
    with pytest.raises(ConfigError, match=expected):
        read_experiment(repository / "x.json")


def test_a_file_that_is_absent_is_refused(repository: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_experiment(repository / "absent.json")


def outside(repository: Path, content: dict[str, Any]) -> Path:
    """An experiment file above the small repository, in no clone."""
    file = repository.parent / "study" / "outside.json"
    file.parent.mkdir()
    file.write_text(json.dumps(content))
    return file


@pytest.mark.parametrize("absolute", [True, False])
def test_a_file_outside_of_a_clone_is_read_in_the_current_directory(
    repository: Path, content: dict[str, Any], write: Write, monkeypatch: pytest.MonkeyPatch, absolute: bool
) -> None:
    file = outside(repository, content)
    monkeypatch.chdir(repository)
    made = plan(read_experiment(file if absolute else Path("..") / "study" / file.name), {})
    step = next(iter(made.steps.values()))
    assert (step.bundle, step.dataset_dir) == (repository / "bundles" / "tiny", repository / "images")
    # The same experiment inside the clone is the same steps.
    assert list(made.steps) == list(plan(read_experiment(write(content)), {}).steps)


def test_bundles_that_do_not_lie_in_the_current_directory_are_the_packages(
    repository: Path, content: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps, rows = content["steps"], content["rows"]
    steps["shipped"] = {"bundle": "bundles/attn_synth", "config": ["evaluate.json", "configs/datasets/mvtec.json"]}
    content["rows"] = {"shipped": {"steps": ["shipped"], "data": ["first"]}, "low": rows["low"]}
    content["data"]["first"]["dataset_dir"] = "pictures"
    file = outside(repository, content)
    # In the folder of a study there are images alone.
    monkeypatch.chdir(file.parent)
    (file.parent / "pictures").mkdir()
    with pytest.raises(ConfigError, match=r"steps\.train\.bundle is 'bundles/tiny', but there is no bundle") as caught:
        plan(read_experiment(file.name), {})
    assert str(file.parent) in str(caught.value)
    assert str(ROOT) in str(caught.value)
    assert "\n" not in str(caught.value)
    steps["train"]["bundle"] = steps["evaluate"]["bundle"] = str(repository / "bundles" / "tiny")
    file.write_text(json.dumps(content))
    made = plan(read_experiment(file.name), {})
    found = {step.name: step for step in made.steps.values()}
    assert found["shipped"].bundle == ROOT / "bundles" / "attn_synth"
    assert found["shipped"].files[-1] == ROOT / "configs" / "datasets" / "mvtec.json"
    assert found["shipped"].dataset_dir == file.parent / "pictures"
    assert found["train"].bundle == repository / "bundles" / "tiny"
    assert str(repository) not in json.dumps([step.inputs for step in made.steps.values()])


def test_a_file_in_a_clone_takes_nothing_from_elsewhere(
    repository: Path, content: dict[str, Any], write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    content["steps"]["train"]["bundle"] = "bundles/attn_synth"
    monkeypatch.chdir(ROOT)
    with pytest.raises(ConfigError, match=r"there is no bundle of that name in '[^']*repository':"):
        plan(read_experiment(write(content)), {})


def test_scales_merge_deeply() -> None:
    base = {"a": {"b": 1, "c": [1, 2]}, "d": 3}
    assert merged(base, {"a": {"c": [9], "e": {"f": 1}}, "d": None}) == {"a": {"b": 1, "c": [9], "e": {"f": 1}}}
    assert base == {"a": {"b": 1, "c": [1, 2]}, "d": 3}


def test_a_scale_changes_what_it_names_and_nothing_else(
    content: dict[str, Any], planned: Callable[..., Plan], write: Write
) -> None:
    content["steps"]["train"]["overrides"] |= {"steps": 9, "block#width": 5}
    content["seeds_vary"] = "five trainings"
    content["scales"] = {
        "small": {
            "seeds": [7],
            "seeds_vary": "one",
            "steps": {"train": {"overrides": {"steps": 2, "block#width": None}}},
        }
    }
    full, small = planned(content), planned(content, scale="small")
    assert (full.experiment.seeds_vary, small.experiment.seeds_vary) == ("five trainings", "one")
    assert {context.seed for context in full.contexts} == {0, 1}
    assert {context.seed for context in small.contexts} == {7}
    settings = [next(s for s in made.steps.values() if s.name == "train").settings for made in (full, small)]
    assert [(s["steps"], s["block#width"]) for s in settings] == [(9, 5), (2, 3)]
    assert small.experiment.title == full.experiment.title
    with pytest.raises(ConfigError, match="has no scale 'smal'; did you mean 'small'"):
        read_experiment(write(content), "smal")
