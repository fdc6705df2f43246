"""Exact AUROC and average precision against scikit-learn and against counting pairs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import average_precision_score, roc_auc_score

from vitad_med.errors import DataError
from vitad_med.metrics.exact import exact_auroc, exact_auroc_and_average_precision, exact_average_precision

# Few distinct values make ties likely.
tied_scores = arrays(np.float64, st.integers(1, 30), elements=st.integers(-4, 4).map(float))


def pair_count_auroc(pos: np.ndarray, neg: np.ndarray) -> float:
    return float(np.mean([(p > n) + 0.5 * (p == n) for p in pos for n in neg]))


@settings(deadline=None)
@given(tied_scores, tied_scores)
def test_equals_counting_pairs_and_scikit_learn(pos: np.ndarray, neg: np.ndarray) -> None:
    labels = np.r_[np.ones(len(pos)), np.zeros(len(neg))]
    scores = np.r_[pos, neg]
    assert exact_auroc(pos, neg) == pytest.approx(pair_count_auroc(pos, neg), abs=1e-12)
    assert exact_auroc(pos, neg) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert exact_average_precision(pos, neg) == pytest.approx(average_precision_score(labels, scores), abs=1e-12)
    assert exact_auroc_and_average_precision(pos, neg) == (exact_auroc(pos, neg), exact_average_precision(pos, neg))


@settings(deadline=None)
@given(tied_scores, tied_scores)
def test_swapping_classes_mirrors_and_monotone_maps_change_nothing(pos: np.ndarray, neg: np.ndarray) -> None:
    assert exact_auroc(neg, pos) == pytest.approx(1 - exact_auroc(pos, neg), abs=1e-12)
    assert exact_auroc(np.exp(pos), np.exp(neg)) == exact_auroc(pos, neg)
    assert exact_average_precision(np.exp(pos), np.exp(neg)) == exact_average_precision(pos, neg)


def test_by_hand() -> None:
    # Descending: 3+, 2-, 2+, 1-: precision 1 at the first, 2/3 where 2+ ties with 2-.
    assert exact_auroc([3, 2], [2, 1]) == (2 + 1.5) / 4
    assert exact_average_precision([3, 2], [2, 1]) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_empty_class_is_undefined_and_nan_is_an_error() -> None:
    assert np.isnan(exact_auroc([], [1.0]))
    assert np.isnan(exact_auroc([1.0], []))
    assert np.isnan(exact_average_precision([], [1.0]))
    assert exact_average_precision([1.0], []) == 1
    with pytest.raises(DataError, match="2 of 3 values are not finite \\(1 NaN, 1 infinite\\)"):
        exact_auroc([np.nan, np.inf, 1], [0])
