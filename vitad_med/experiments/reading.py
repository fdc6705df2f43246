"""Reads an experiment file, applies a scale, and refuses what is unknown, missing or refers to nothing."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from vitad_med.digests import config_digest
from vitad_med.errors import ConfigError
from vitad_med.experiments.checks import check_references
from vitad_med.experiments.document import SCHEMA, Data, Experiment, Metric, Paper, Reference, Row, Step
from vitad_med.experiments.fields import Fields, did_you_mean, read_object
from vitad_med.experiments.placeholders import OWN

SCALABLE = ("data", "steps", "rows", "seeds", "seeds_vary")
_PLAIN_NAME = re.compile(r"[A-Za-z]\w*")
_PART = re.compile(r"\w+")
_FORMAT = re.compile(r"\.\d[f%]")


def read_experiment(path: str | Path, scale: str | None = None) -> Experiment:
    """Read an experiment at one of its scales; every scale is checked.

    Args:
        path: of the JSON file, described in ``docs/experiments.md``.
        scale: a name below ``scales``; None takes the settings of the file itself.

    Raises:
        ConfigError: names file, key and remedy.
    """
    file = Path(path).expanduser()
    content = read_object(file)
    scales = content.pop("scales", {})
    changes = Fields(str(file), "scales", scales).content
    if scale is not None and scale not in changes:
        raise ConfigError(f"'{file}' has no scale '{scale}'; {did_you_mean(scale, changes)}")
    found = None
    for name in (None, *changes):
        if name is None:
            one = _experiment(file, content, None)
        else:
            _check_scale(str(file), name, changes[name])
            one = _experiment(file, merged(content, changes[name]), name)
        found = one if name == scale else found
    assert found is not None
    return found


def merged(content: Any, change: Any) -> Any:
    """``content`` with the change laid over it: objects key by key, anything else replaced; null removes a key."""
    if not isinstance(content, Mapping) or not isinstance(change, Mapping):
        return change
    result = dict(content)
    for key, value in change.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def roots_of(file: Path) -> tuple[Path, Path | None]:
    """Where the relative names of an experiment file begin, and where else bundles and configs may lie.

    A file in a clone of the repository, known by the folder ``bundles`` above it, is read in that clone and nowhere
    else. Any other is read in the current directory; what does not lie there is taken from the clone that this package
    is imported from, None where it is installed without one.
    """
    for folder in file.resolve().parents:
        if (folder / "bundles").is_dir():
            return folder, None
    package = Path(__file__).resolve().parents[2]
    return Path.cwd(), package if (package / "bundles").is_dir() else None


def _check_scale(file: str, name: str, change: Any) -> None:
    fields = Fields(file, f"scales.{name}", change)
    for key in SCALABLE:
        fields.raw(key)
    fields.end()


def _experiment(file: Path, content: Mapping[str, Any], scale: str | None) -> Experiment:
    top = Fields(str(file), "", content)
    if top.raw("schema") != SCHEMA:
        top.refuse("schema", f"'{SCHEMA}'", content.get("schema"))
    seeds = top.whole_numbers("seeds", (0,))
    columns = top.mapping("columns", {})
    data = {part.name: part for _, fields in _named(top, "data") for part in _data(fields)}
    steps = {name: _step(fields, data) for name, fields in _named(top, "steps")}
    rows = {name: _row(fields, seeds, data) for name, fields in _named(top, "rows")}
    metrics = {name: _metric(fields, data) for name, fields in _named(top, "metrics")}
    paper, references = _paper(top)
    root, fallback = roots_of(file)
    experiment = Experiment(
        file=file,
        root=root,
        fallback=fallback,
        digest=config_digest(content),
        scale=scale,
        title=top.text("title"),
        question=top.text("question"),
        seeds_vary=top.optional_text("seeds_vary"),
        columns=columns,
        data=data,
        steps=steps,
        rows=rows,
        metrics=metrics,
        references=references,
        paper=paper,
        notes=top.texts("notes", ()),
    )
    top.end()
    check_references(top, experiment)
    return experiment


def _named(top: Fields, key: str) -> list[tuple[str, Fields]]:
    found = top.mapping(key)
    if not found:
        top.refuse(key, "an object with at least one name", found)
    for name in found:
        if not _PLAIN_NAME.fullmatch(name):
            raise ConfigError(
                f"'{top.file}': {key}.{name} is no name: use letters, digits and underscores, a letter first."
            )
    return [(name, Fields(top.file, f"{key}.{name}", content)) for name, content in found.items()]


def _name(fields: Fields) -> str:
    return fields.where.split(".", 1)[1]


def _data(fields: Fields) -> list[Data]:
    """The data set, or its parts."""
    name = _name(fields)
    whole = Data(
        name=name,
        family=name,
        part="",
        title=fields.text("title", name),
        every={},
        config=fields.texts("config", ()),
        dataset_dir=fields.optional_text("dataset_dir"),
        overrides=fields.settings("overrides"),
        note=fields.optional_text("note"),
    )
    each = fields.mapping("each", {})
    fields.end()
    if not each:
        return [whole]
    if len(each) > 1:
        fields.refuse("each", "an object with one config key and the list of its values", each)
    [(key, values)] = each.items()
    texts = [str(value) for value in values] if isinstance(values, list) else []
    if len(set(texts)) < max(2, len(texts)) or not all(_PART.fullmatch(text) for text in texts):
        fields.refuse(f"each.{key}", "a list of different values of letters, digits and underscores", values)
    return [
        replace(whole, name=f"{name}_{text}", part=text, every={key: value})
        for text, value in zip(texts, values, strict=True)
    ]


def _parts(names: Sequence[str], data: Mapping[str, Data]) -> tuple[str, ...]:
    """Names of data sets with each family in place of which stand its parts."""
    found: list[str] = []
    for name in names:
        found += [item.name for item in data.values() if item.family == name] or [name]
    return tuple(dict.fromkeys(found))


def _step(fields: Fields, data: Mapping[str, Data]) -> Step:
    name = _name(fields)
    if name in OWN:
        raise ConfigError(f"'{fields.file}': {fields.where}: {{{name}}} means something else; name the step otherwise.")
    overrides = fields.mapping("overrides", {})
    fields.no_nulls("overrides", overrides)
    only = fields.texts("only", ())
    made = Step(
        name=name,
        bundle=fields.text("bundle"),
        config=fields.texts("config"),
        overrides=overrides,
        data=fields.optional_text("data"),
        only=_parts(only, data) or None,
    )
    if not made.config or "/" in made.config[0]:
        fields.refuse("config", "a list that begins with a file of the bundle, e.g. 'train.json'", list(made.config))
    fields.end()
    return made


def _row(fields: Fields, seeds: Sequence[int], data: Mapping[str, Data]) -> Row:
    name = _name(fields)
    made = Row(
        name=name,
        label=fields.text("label", name),
        columns=fields.texts("column", ()),
        steps=fields.texts("steps"),
        overrides=fields.settings("overrides"),
        data=_parts(fields.texts("data", tuple(data)), data),
        seeds=fields.whole_numbers("seeds", tuple(seeds)),
    )
    if not made.steps or not made.data:
        fields.refuse("steps" if not made.steps else "data", "a list with at least one name", [])
    fields.end()
    return made


def _metric(fields: Fields, data: Mapping[str, Data]) -> Metric:
    name = _name(fields)
    made = Metric(
        name=name,
        label=fields.text("label", name),
        block=fields.text("block", ""),
        step=fields.text("step"),
        file=fields.text("file", "metrics.json"),
        path=fields.text("path"),
        format=fields.text("format", ".3f"),
        data=_parts(fields.texts("data", ()), data) or None,
    )
    if not _FORMAT.fullmatch(made.format):
        fields.refuse("format", "'.3f' or '.1%', with another digit if you like", made.format)
    if Path(made.file).is_absolute() or ".." in Path(made.file).parts:
        fields.refuse("file", "a path inside the step's folder", made.file)
    fields.end()
    return made


def _paper(top: Fields) -> tuple[Paper | None, tuple[Reference, ...]]:
    if top.raw("paper") is None:
        return None, ()
    fields = Fields(top.file, "paper", top.content["paper"])
    listed = fields.raw("figures", [])
    if not isinstance(listed, list):
        fields.refuse("figures", "a list", listed)
    references = []
    for index, content in enumerate(listed):
        one = Fields(top.file, f"paper.figures[{index}]", content)
        references.append(
            Reference(
                row=one.text("row"),
                metric=one.text("metric"),
                data=one.optional_text("data"),
                value=one.number("value"),
                error=one.optional_number("error"),
                note=one.optional_text("note"),
            )
        )
        one.end()
    paper = Paper(title=fields.text("title"), settings=fields.settings("settings"), notes=fields.texts("notes", ()))
    fields.end()
    return paper, tuple(references)
