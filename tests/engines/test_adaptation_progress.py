"""What an interrupted adaptation left behind is taken up, or thrown away, or refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from vitad_med.engines.adaptation_progress import AdaptationProgress, StoredStep
from vitad_med.errors import ConfigError, WeightsError
from vitad_med.outputs import ProxyOutput


class Counting:
    """A stand-in for the state that an adapter has: how many steps it has done."""

    def __init__(self) -> None:
        self.steps = 0

    def state_dict(self) -> dict:
        return {"steps": self.steps}

    def load_state_dict(self, state: dict) -> None:
        self.steps = state["steps"]


def output(value: float) -> ProxyOutput:
    return ProxyOutput(torch.full((2, 2), value), torch.full((2, 1, 3, 3), value), torch.zeros(2, 1, 3, 3))


def stored(number: int) -> StoredStep:
    return StoredStep(f"batch{number}", output(number), output(number + 0.5), torch.full((2,), float(number)))


def run(folder: Path, steps: int, interval: float = 0.0, **settings: object) -> AdaptationProgress:
    progress = AdaptationProgress(folder, Counting(), {"seed": 0, **settings}, interval=interval)  # type: ignore[arg-type]
    progress.load()
    for number in range(steps):
        progress.adapter.steps += 1  # type: ignore[attr-defined]
        progress.add(stored(number))
    return progress


def test_outputs_and_state_come_back(tmp_path: Path) -> None:
    run(tmp_path / "unfinished", 5)
    later = AdaptationProgress(tmp_path / "unfinished", Counting(), {"seed": 0})  # type: ignore[arg-type]
    assert later.load() == 5
    assert later.adapter.steps == 5  # type: ignore[attr-defined]
    for number in range(5):
        step = later.stored(number, f"batch{number}")
        assert step is not None
        assert torch.equal(step.before.logits, output(number).logits)
        assert torch.equal(step.after.map_logits, output(number + 0.5).map_logits)
        assert torch.equal(step.source, stored(number).source)
    assert later.stored(5, "batch5") is None


def test_what_came_after_the_last_writing_is_done_again(tmp_path: Path) -> None:
    progress = run(tmp_path / "unfinished", 2)
    progress.interval = 1e9
    progress.adapter.steps += 1  # type: ignore[attr-defined]
    progress.add(stored(2))
    later = AdaptationProgress(tmp_path / "unfinished", Counting(), {"seed": 0})  # type: ignore[arg-type]
    assert later.load() == 2
    assert later.adapter.steps == 2  # type: ignore[attr-defined]
    assert later.stored(2, "batch2") is None
    # It goes on, is interrupted again, and all five are there.
    later.interval = 0.0
    for number in (2, 3, 4):
        later.add(stored(number))
    last = AdaptationProgress(tmp_path / "unfinished", Counting(), {"seed": 0})  # type: ignore[arg-type]
    assert last.load() == 5
    assert all(last.stored(number, f"batch{number}") is not None for number in range(5))


def test_outputs_without_their_state_are_not_taken(tmp_path: Path) -> None:
    """Killed between the two writings: the batch is done again, and its old outputs are not mixed in."""
    progress = run(tmp_path / "unfinished", 2)
    state = (tmp_path / "unfinished" / "state.pt").read_bytes()
    progress.add(stored(2))
    (tmp_path / "unfinished" / "state.pt").write_bytes(state)
    later = AdaptationProgress(tmp_path / "unfinished", Counting(), {"seed": 0})  # type: ignore[arg-type]
    assert later.load() == 2
    assert later.stored(2, "batch2") is None


def test_missing_outputs_are_refused(tmp_path: Path) -> None:
    run(tmp_path / "unfinished", 3)
    (tmp_path / "unfinished" / "outputs_000001_000001.pt").unlink()
    with pytest.raises(WeightsError, match=r"outputs of 1 batches.*knows of 3.*--resume False"):
        AdaptationProgress(tmp_path / "unfinished", Counting(), {"seed": 0}).load()  # type: ignore[arg-type]


def test_a_run_that_keeps_no_outputs_needs_none(tmp_path: Path) -> None:
    progress = AdaptationProgress(tmp_path / "unfinished", Counting(), {"seed": 0}, interval=0.0)  # type: ignore[arg-type]
    for _ in range(3):
        progress.add(None)
    assert AdaptationProgress(tmp_path / "unfinished", Counting(), {"seed": 0}).load() == 3  # type: ignore[arg-type]


def test_other_images_in_a_finished_batch_are_refused(tmp_path: Path) -> None:
    run(tmp_path / "unfinished", 2)
    later = AdaptationProgress(tmp_path / "unfinished", Counting(), {"seed": 0})  # type: ignore[arg-type]
    later.load()
    with pytest.raises(ConfigError, match="other images"):
        later.stored(1, "another batch")


def test_other_settings_are_refused_by_name(tmp_path: Path) -> None:
    run(tmp_path / "unfinished", 2)
    with pytest.raises(ConfigError, match=r"seed: 0, now 1.*--resume False"):
        AdaptationProgress(tmp_path / "unfinished", Counting(), {"seed": 1}).load()  # type: ignore[arg-type]


def test_it_begins_anew_when_asked(tmp_path: Path) -> None:
    run(tmp_path / "unfinished", 2)
    fresh = AdaptationProgress(tmp_path / "unfinished", Counting(), {"seed": 1}, resume=False)  # type: ignore[arg-type]
    assert fresh.load() == 0
    assert fresh.stored(0, "batch0") is None
    assert not (tmp_path / "unfinished").exists()


def test_nothing_is_left_when_it_is_finished(tmp_path: Path) -> None:
    progress = run(tmp_path / "unfinished", 2)
    assert (tmp_path / "unfinished").is_dir()
    progress.clear()
    assert not (tmp_path / "unfinished").exists()
