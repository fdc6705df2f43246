"""Checks config values before anything is built: types as declared, ranges of the keys all bundles share."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from vitad_med.data.shifts import SHIFTS
from vitad_med.errors import ConfigError

Rule = Callable[[str, Any], None]
EXPRESSION = ("$", "@", "%")
"""How expressions and references of MONAI's configs begin."""
MAX_SEED = 2**32 - 1  # numpy's legacy generator takes 32 bits


def check_types(declared: Any, given: Any, path: tuple[str, ...] = ()) -> None:
    """A number, truth value or text stays what the bundle's config declares; references and expressions pass.

    Raises:
        ConfigError: names the key, its value and what it must be.
    """
    if isinstance(declared, Mapping) and isinstance(given, Mapping):
        if declared.get("_target_") == given.get("_target_"):
            for key in declared.keys() & given.keys():
                if not str(key).startswith("_"):
                    check_types(declared[key], given[key], (*path, str(key)))
        return
    if isinstance(given, str) and given.startswith(EXPRESSION):
        return
    if isinstance(declared, str) and declared.startswith(EXPRESSION):
        return
    name = "#".join(path)
    if given is None and name in NULLABLE:
        return
    if isinstance(declared, bool):
        boolean(name, given)
    elif isinstance(declared, int):
        integer()(name, given)
    elif isinstance(declared, float):
        number()(name, given)
    elif isinstance(declared, str) and not isinstance(given, str):
        _refuse(name, given, "text", "quote it twice on a command line, e.g. '\"5\"'")


def check_values(values: Mapping[str, Any], choices: Mapping[str, Sequence[Any]] | None = None) -> None:
    """Ranges of the keys that all bundles share, and of ``choices``.

    Args:
        values: evaluated top-level values by key; keys without a rule are not looked at.
        choices: allowed values by key.

    Raises:
        ConfigError: names the key, its value and the remedy.
    """
    for key, rule in RULES.items():
        if key in values:
            rule(key, values[key])
    for key, allowed in (choices or {}).items():
        if key in values:
            one_of(*allowed)(key, values[key])
    for key in ("image_size", "grid_size"):
        for network in ("architecture", "backbone"):
            if key in values and isinstance(values.get(network), str):
                check_patch_multiple(key, values[key], values[network])


def boolean(name: str, value: Any) -> None:
    """True or False, not the text 'true'."""
    if not isinstance(value, bool):
        _refuse(name, value, "True or False", f"e.g. --{name} True")


def integer(low: int | None = None, high: int | None = None) -> Rule:
    """A whole number in low..high."""

    def rule(name: str, value: Any) -> None:
        wanted = "a whole number" + (f" of at least {low}" if low is not None else "")
        if isinstance(value, bool) or not isinstance(value, int):
            _refuse(name, value, wanted, f"e.g. --{name} {1 if low is None else max(low, 1)}")
        if low is not None and value < low:
            _refuse(name, value, wanted)
        if high is not None and value > high:
            _refuse(name, value, f"at most {high}")

    return rule


def number(low: float | None = None, high: float | None = None, *, open_low: bool = False) -> Rule:
    """A finite number in low..high; ``open_low`` excludes the lower end."""

    def rule(name: str, value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            _refuse(name, value, "a finite number")
        if low is not None and (value < low or (open_low and value == low)):
            _refuse(name, value, f"{'greater than' if open_low else 'at least'} {low:g}")
        if high is not None and value > high:
            _refuse(name, value, f"at most {high:g}")

    return rule


def optional(rule: Rule) -> Rule:
    """None, or what another rule accepts."""

    def either(name: str, value: Any) -> None:
        if value is not None:
            rule(name, value)

    return either


def one_of(*allowed: Any) -> Rule:
    """One of the listed values."""

    def rule(name: str, value: Any) -> None:
        if isinstance(value, bool) or value not in allowed:
            _refuse(name, value, "one of " + ", ".join(repr(item) for item in allowed))

    return rule


def integers(name: str, value: Any) -> None:
    """A list of whole numbers that is not empty."""
    numbers = isinstance(value, (list, tuple)) and value
    if not numbers or any(isinstance(item, bool) or not isinstance(item, int) for item in value):
        _refuse(name, value, "a list of whole numbers", f"e.g. --{name} '[1,2,3]'")


def integer_or(word: str, low: int) -> Rule:
    """A word, or a whole number of at least ``low``."""

    def rule(name: str, value: Any) -> None:
        if value != word and (isinstance(value, bool) or not isinstance(value, int) or value < low):
            _refuse(name, value, f"'{word}' or a whole number of at least {low}")

    return rule


def text(name: str, value: Any) -> None:
    """Text that is not empty."""
    if not isinstance(value, str) or not value.strip():
        _refuse(name, value, "text that is not empty")


def device(name: str, value: Any) -> None:
    """``auto``, or a torch device that this machine has."""
    if value == "auto":
        return
    try:
        wanted = torch.device(value)
    except (RuntimeError, TypeError):
        _refuse(name, value, "auto or a torch device such as cpu, cuda or cuda:1")
    available = available_devices()
    label = wanted.type if wanted.index in (None, 0) else str(wanted)
    if label not in available:
        _refuse(name, str(value), "a device that this machine has: " + ", ".join(available), f"e.g. --{name} cpu")


def available_devices() -> list[str]:
    """Names of the devices that torch can use here, e.g. ``["cpu", "cuda", "cuda:1"]``; index 0 has the bare name."""
    names = ["cpu"]
    if torch.cuda.is_available():
        names += ["cuda", *(f"cuda:{index}" for index in range(1, torch.cuda.device_count()))]
    if torch.backends.mps.is_available():
        names.append("mps")
    return names


def check_patch_multiple(name: str, value: int, architecture: str) -> None:
    """The image side is a multiple of the patch side that a timm name such as ``vit_tiny_patch16_224`` states."""
    found = re.search(r"patch(\d+)", architecture)
    if found is None:
        return
    patch = int(found.group(1))
    if value % patch:
        below = value // patch * patch
        near = f"{below} or {below + patch}" if below else str(patch)
        _refuse(name, value, f"a multiple of the patch size {patch} of {architecture}", f"e.g. {near}")


NULLABLE = frozenset({"warmup_start"})
"""Keys with a number by default that a configuration may set to null."""

RULES: dict[str, Rule] = {
    "epochs": integer(1),
    "warmup_epochs": number(0),
    "batch_size": integer(1),
    "micro_batch": integer(1),
    "image_size": integer(1),
    "source_size": integer(1),
    "eval_size": integer(1),
    "channels": one_of(1, 3),
    "seed": integer(0, MAX_SEED),
    "split_seed": integer(0, MAX_SEED),
    "workers": integer(0),
    "replicates": integer(1),
    "overlays": integer(0),
    "val_interval": integer(1),
    "synthetic_limit": integer(1),
    "val_fraction": number(0, 1),
    "learning_rate": number(0, open_low=True),
    "weight_decay": number(0),
    "detail_lr": number(0, open_low=True),
    "aggregator_lr": number(0, open_low=True),
    "clip_norm": number(0, open_low=True),
    "dice_weight": number(0, 1),
    "token_weight": number(0),
    "head_hidden": integer(1),
    "detail_width": integer(0),
    "smoothing": number(0),
    "final_relu": boolean,
    "crop_focus": number(0, 1),
    "grid_size": integer(1),
    "prototypes": integer(2),
    "queue": integer(0),
    "temperature": number(0, open_low=True),
    "epsilon": number(0, open_low=True),
    "sinkhorn_iterations": integer(1),
    "mean_entropy_weight": number(0),
    "teacher_momentum": number(0, 1),
    "frozen_prototype_epochs": integer(0),
    "warmup_start": optional(number(0)),
    "drop_path_rate": number(0, 1),
    "method": one_of("alignment", "tent", "pseudo_label", "continued", "none"),
    "mode": one_of("online", "transductive", "episodic"),
    "predict": one_of("after_step", "before_step"),
    "adapt_on": one_of("all_test", "boxed_only"),
    "stream_order": one_of("shuffled", "listed"),
    "moment": one_of("unbiased", "literal"),
    "guard": one_of("rollback", "observe", "off"),
    "guard_level": number(0, 1, open_low=True),
    "guard_interval": integer(1),
    "guard_limit": integer(2),
    "iterations": integer(1),
    "momentum": number(0, 1),
    "renormalise_rows": boolean,
    "backbone": text,
    "backbone_weights": text,
    "pre_norm": boolean,
    "layers": integers,
    "stages": integers,
    "grid": integer_or("finest", 1),
    "channels_kept": integer_or("all", 1),
    "channel_seed": integer(0, MAX_SEED),
    "remove_image_mean": boolean,
    "k": integer(1),
    "radius": integer(0),
    "coreset_size": integer(1),
    "candidates": integer(1),
    "projection": integer(1),
    "save_every": integer(1),
    "sigma": number(0),
    "amp": boolean,
    "resume": boolean,
    "device": device,
    "data": text,
    "dataset_dir": text,
    "output_dir": text,
    "shift": one_of(*SHIFTS),
    "weights": text,
    "tracking_uri": text,
    "experiment": text,
    "run_name": text,
    "statistics_file": text,
}


def _refuse(name: str, value: Any, wanted: str, example: str = "") -> None:
    raise ConfigError(f"--{name} is {value!r}, but must be {wanted}" + (f" ({example})" if example else ""))
