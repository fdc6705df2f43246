"""Streaming AUROC and average precision: exact on its grid, within its bound off it, mergeable, never clipping."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import average_precision_score, roc_auc_score

from vitad_med.errors import DataError
from vitad_med.metrics.streaming import StreamingAUROC, exact_auroc, exact_average_precision, score_range

unit_scores = arrays(np.float64, st.integers(1, 40), elements=st.floats(0, 1))


@settings(deadline=None)
@given(unit_scores, unit_scores, st.integers(2, 50))
def test_distance_to_the_exact_value_stays_within_the_bound(pos: np.ndarray, neg: np.ndarray, bins: int) -> None:
    meter = StreamingAUROC(0, 1, bins)
    meter.update(np.r_[pos, neg], np.r_[np.ones(len(pos)), np.zeros(len(neg))])
    assert abs(meter.auroc() - exact_auroc(pos, neg)) <= meter.bound() + 1e-12
    assert abs(meter.average_precision() - exact_average_precision(pos, neg)) <= meter.average_precision_bound() + 1e-12


@pytest.mark.parametrize("bins", [16, 65536])
def test_equals_scikit_learn_on_quantised_scores(bins: int) -> None:
    generator = np.random.default_rng(1)
    labels = generator.random(20_000) < 0.1
    scores = np.clip(generator.normal(0.4 + 0.1 * labels, 0.15), 0, 1).astype(np.float32)
    meter = StreamingAUROC(0, 1, bins)
    meter.update(scores, labels)
    quantised = np.minimum(np.floor(scores * np.float32(bins)), bins - 1)
    assert meter.auroc() == pytest.approx(roc_auc_score(labels, quantised), abs=1e-12)
    assert meter.average_precision() == pytest.approx(average_precision_score(labels, quantised), abs=1e-12)
    assert meter.counts.sum() == labels.size


def test_the_bound_is_tight_enough_to_be_useful() -> None:
    generator = np.random.default_rng(2)
    labels = generator.random(200_000) < 0.08
    scores = generator.random(200_000)
    meter = StreamingAUROC.of(scores, labels)
    assert 0 < meter.bound() < 2e-5
    assert 0 < meter.average_precision_bound() < 2e-3
    assert f"within {meter.bound():.1e}" in str(meter)


def test_a_poor_range_widens_the_bound() -> None:
    scores, labels = np.random.default_rng(3).random(1000) * 1e-6, np.arange(1000) % 2
    meter = StreamingAUROC(0, 1)
    meter.update(scores, labels)
    assert meter.bound() == pytest.approx(0.5)
    assert StreamingAUROC.of(scores, labels).bound() < 1e-3


@settings(deadline=None)
@given(unit_scores, st.data())
def test_merging_parts_equals_the_whole(scores: np.ndarray, data: st.DataObject) -> None:
    labels = data.draw(arrays(np.bool_, scores.shape))
    cut = data.draw(st.integers(0, len(scores)))
    whole, first, second = (StreamingAUROC(0, 1, 256) for _ in range(3))
    whole.update(scores, labels)
    first.update(scores[:cut], labels[:cut])
    second.update(scores[cut:], labels[cut:])
    first.merge(second)
    assert torch.equal(first.counts, whole.counts)


def test_merging_other_ranges_is_refused() -> None:
    with pytest.raises(DataError, match="cannot be merged"):
        StreamingAUROC(0, 1).merge(StreamingAUROC(0, 2))


def test_runs_and_blocks_do_not_change_the_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(4)
    scores, labels = generator.random(1000, dtype=np.float32), generator.random(1000) < 0.3
    whole = StreamingAUROC(0, 1, 64)
    whole.update(scores, labels)
    monkeypatch.setattr("vitad_med.metrics.streaming._RUN", 96)
    monkeypatch.setattr("vitad_med.metrics.streaming._BLOCK", 10)
    parts = StreamingAUROC(0, 1, 64)
    parts.update(scores, labels)
    assert torch.equal(parts.counts, whole.counts)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.uint8])
def test_numpy_and_torch_inputs_of_any_type_and_shape(dtype: torch.dtype) -> None:
    high = 255 if dtype == torch.uint8 else 1
    scores = (torch.rand(4, 1, 16, 16) * high).to(dtype)
    labels = torch.rand(4, 1, 16, 16) < 0.3
    meter = StreamingAUROC(0, high)
    meter.update(scores, labels)
    reference = exact_auroc(scores[labels].double(), scores[~labels].double())
    assert meter.auroc() == pytest.approx(reference, abs=meter.bound() + 1e-12)
    if dtype != torch.bfloat16:
        twin = StreamingAUROC(0, high)
        twin.update(scores.numpy(), labels.numpy().astype(np.int64))
        assert torch.equal(twin.counts, meter.counts)


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ([np.nan, np.nan, 0.5], "2 of 3 scores cannot be counted: 2 NaN, 0 infinite, 0 below 0, 0 above 1"),
        ([np.inf, -np.inf, 0.5], "2 of 3 scores cannot be counted: 0 NaN, 2 infinite"),
        ([-0.1, 1.1, 1.2], "3 of 3 scores cannot be counted: 0 NaN, 0 infinite, 1 below 0, 2 above 1"),
    ],
)
def test_scores_that_do_not_fit_are_named_and_nothing_is_counted(bad: list[float], told: str) -> None:
    meter = StreamingAUROC(0, 1)
    with pytest.raises(DataError, match=told):
        meter.update(bad, [0, 1, 1])
    assert meter.counts.sum() == 0


def test_other_wrong_input() -> None:
    meter = StreamingAUROC()
    with pytest.raises(DataError, match="2 labels for 3 scores"):
        meter.update([0.1, 0.2, 0.3], [0, 1])
    with pytest.raises(DataError, match="1 of 2 labels are neither 0 nor 1"):
        meter.update([0.1, 0.2], [0, 255])
    with pytest.raises(DataError, match="low below high"):
        StreamingAUROC(1, 1)
    with pytest.raises(DataError, match="finite"):
        score_range([[0.5], [np.nan]])
    with pytest.raises(DataError, match="at least one"):
        score_range([])


def test_ends_of_the_range_and_undefined_values() -> None:
    meter = StreamingAUROC(-1, 1, 4)
    assert np.isnan(meter.auroc())
    assert np.isnan(meter.average_precision())
    meter.update([-1.0, 1.0, 0.0], [0, 1, 0])
    assert meter.counts.tolist() == [[1, 0, 1, 0], [0, 0, 0, 1]]
    assert meter.auroc() == 1
    assert score_range([np.array([3.0, -2.0]), torch.tensor([[7]])]) == (-2.0, 7.0)
    assert StreamingAUROC.of([2.0, 2.0], [0, 1]).auroc() == 0.5


def test_a_memory_mapped_file_is_read_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitad_med.metrics.streaming._RUN", 1 << 17)
    scores = np.lib.format.open_memmap(tmp_path / "s.npy", mode="w+", dtype=np.float32, shape=(2_000_000,))
    scores[:] = np.random.default_rng(5).random(len(scores), dtype=np.float32)
    scores.flush()
    read_only = np.load(tmp_path / "s.npy", mmap_mode="r")
    labels = read_only > 0.9
    meter = StreamingAUROC()
    tracemalloc.start()
    meter.update(read_only, labels)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert meter.auroc() == pytest.approx(1, abs=1e-4)
    assert peak < 4e6, "a copy of the whole file would take 8 MB"
