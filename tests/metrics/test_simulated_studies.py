"""Coverage of intervals and size of tests over simulated studies of patients with several correlated images.

The slow tests print one line a setting, the numbers of docs/statistics.md:
``pytest tests/metrics/test_simulated_studies.py -s``.
"""

from collections import defaultdict
from collections.abc import Callable
from functools import cache, partial

import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import binomtest, norm, t

from vitad_med.metrics.bootstrap import interval, logit_interval, patient_kinds, patient_weights
from vitad_med.metrics.clustered import delong_clustered
from vitad_med.metrics.conditioned import PairMatrices, within_image_midranks
from vitad_med.metrics.gap_statistics import ConditionedStatistic, ImageStatistic
from vitad_med.metrics.gaps import bootstrap_gap_test, permutation_test
from vitad_med.metrics.image import image_auroc

REPLICATES = 2000
STUDIES = 2000
SIDE = 6

# (value, replicates, patients of the smaller class)
Study = tuple[float, np.ndarray, int]


def image_study(seed: int, patients: int, auroc: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, labels, patients: 35 % normal, 55 % abnormal, 10 % with both kinds of images; 1-4, correlation .5."""
    generator = np.random.default_rng([seed, patients])
    both = round(0.1 * patients)
    kind = np.full(patients, 2)
    kind[: (patients - both) // 2] = 1
    kind[:both] = 3
    images = np.maximum(generator.integers(1, 5, patients), np.where(kind == 3, 2, 1))
    ids = np.repeat(np.arange(patients), images)
    number = np.arange(len(ids)) - np.searchsorted(ids, ids)
    labels = np.where(kind[ids] == 3, number % 2 == 1, kind[ids] == 2)
    shift = np.sqrt(2) * norm.ppf(auroc)
    scores = np.sqrt(0.5) * generator.normal(size=patients)[ids] + np.sqrt(0.5) * generator.normal(size=len(ids))
    return scores + shift * labels, labels, ids


@cache
def patient_counts(patients: int, kinds: tuple[int, ...], seed: int) -> np.ndarray:
    """Bootstrap counts of patients of these kinds (1 normal, 2 abnormal, 3 both), float64 [R, patients].

    They do not depend on the scores, so that studies may share them.
    """
    ids = np.repeat(np.arange(patients), [1 + (kind == 3) for kind in kinds])
    labels = np.concatenate([[0, 1] if kind == 3 else [kind - 1] for kind in kinds])
    return patient_weights(ids, labels, REPLICATES, seed)[:, np.searchsorted(ids, np.arange(patients))].astype(float)


def summed(wins: np.ndarray, pairs: np.ndarray, rows: np.ndarray, columns: np.ndarray, patients: int) -> PairMatrices:
    """Comparisons summed by patient: images of a patient have one weight, so replicates are the same and faster."""
    everyone = np.arange(patients)[:, None]
    left, right = (rows == everyone).astype(float), (columns == everyone).astype(float)
    return PairMatrices(left @ wins @ right.T, left @ pairs @ right.T)


def image_replicates(
    study: tuple[np.ndarray, np.ndarray, np.ndarray], inside: np.ndarray, patients: int, seed: int
) -> tuple[float, np.ndarray]:
    """AUROC of the images ``inside`` and its replicates over the patients of the whole study."""
    scores, labels, ids = study
    kinds = patient_kinds(ids, labels)[np.searchsorted(ids, np.arange(patients))]
    counts = patient_counts(patients, tuple(kinds.tolist()), seed % 20)
    abnormal, normal = inside & labels, inside & ~labels
    wins = (scores[abnormal][:, None] > scores[normal]).astype(float)
    drawn = summed(wins, np.ones_like(wins), ids[abnormal], ids[normal], patients).auroc(counts)
    if seed == 0:
        weights = patient_weights(ids, labels, REPLICATES, seed)[:, inside]
        np.testing.assert_allclose(drawn, image_auroc(scores[inside], labels[inside], weights), atol=1e-12)
    return float(wins.mean()), np.asarray(drawn)


def image_figures(seed: int, patients: int, auroc: float) -> Study:
    study = image_study(seed, patients, auroc)
    _, labels, ids = study
    smaller = min(len(np.unique(ids[labels])), len(np.unique(ids[~labels])))
    return (*image_replicates(study, np.ones(len(ids), dtype=bool), patients, seed), smaller)


def localized_study(seed: int, images: np.ndarray, effect: float, spread: float) -> tuple[PairMatrices, np.ndarray]:
    """Pair matrices and patients of maps that rise inside a box by an effect of the patient's own.

    A patient's images share the place of the box, half the variance of the noise and the effect, whose standard
    deviation over patients is ``spread`` times its mean.
    """
    patients = len(images)
    generator = np.random.default_rng([seed, patients])
    ids = np.repeat(np.arange(patients), images)
    corner = generator.integers(0, SIDE - 1, (patients, 2))[ids] + generator.integers(-1, 2, (len(ids), 2))
    corner = np.clip(corner, 0, SIDE - 2)[:, :, None, None]
    size = generator.integers(1, 4, (len(ids), 2))[:, :, None, None]
    grid = np.indices((SIDE, SIDE))
    masks = ((grid >= corner) & (grid < corner + size)).all(axis=1)
    shape = (SIDE, SIDE)
    noise = generator.normal(size=(patients, *shape))[ids] + generator.normal(size=(len(ids), *shape))
    own = effect * (1 + spread * generator.normal(size=patients)[ids])
    maps = np.sqrt(0.5) * noise + own[:, None, None] * masks
    return PairMatrices.build(within_image_midranks(maps.astype(np.float32)), masks), ids


def localized_figures(seed: int, patients: int, effect: float, spread: float) -> Study:
    images = np.random.default_rng([seed, patients, 1]).integers(1, 5, patients)
    matrices, ids = localized_study(seed, images, effect, spread)
    counts = patient_counts(patients, (2,) * patients, seed % 20)
    replicates = summed(matrices.K, matrices.D, ids, ids, patients).auroc(counts)
    if seed == 0:
        weights = patient_weights(ids, np.ones(len(ids)), REPLICATES, seed)
        np.testing.assert_allclose(replicates, matrices.auroc(weights), atol=1e-12)
    return float(matrices.auroc()), np.asarray(replicates), patients


def true_localized(effect: float, spread: float) -> float:
    """The figure of the population, from 20 studies of 1,500 patients with one image each."""
    sums = np.zeros(2)
    for seed in range(20):
        matrices, _ = localized_study(10**6 + seed, np.ones(1500, dtype=int), effect, spread)
        sums += matrices.K.sum(), matrices.D.sum()
    return sums[0] / sums[1]


def coverages(name: str, truth: float, study: Callable[[int], Study], studies: int = STUDIES) -> float:
    """Coverage of the logit interval; prints it beside those of the two percentile intervals."""
    hits = np.zeros((studies, 3), dtype=bool)
    widths = np.zeros((studies, 3))
    for seed in range(studies):
        value, replicates, patients = study(seed)
        ends = [
            logit_interval(value, replicates, patients),
            interval(replicates, patients=patients),
            interval(replicates),
        ]
        hits[seed] = [low <= truth <= high for low, high in ends]
        widths[seed] = [high - low for low, high in ends]
    logit, expanded, plain = hits.mean(axis=0)
    print(
        f"\n{name}, true value {truth:.3f}: logit {logit:.3f}, expanded percentile {expanded:.3f}, "
        f"percentile {plain:.3f}; mean widths " + " ".join(f"{width:.3f}" for width in widths.mean(axis=0))
    )
    return float(logit)


@pytest.mark.slow
@pytest.mark.parametrize("auroc", [0.75, 0.9, 0.97])
def test_coverage_of_image_auroc_at_200_patients(auroc: float) -> None:
    assert 0.935 <= coverages("200 patients", auroc, lambda seed: image_figures(seed, 200, auroc)) <= 0.965


@pytest.mark.slow
@pytest.mark.parametrize("patients", [30, 60])
@pytest.mark.parametrize("auroc", [0.75, 0.9, 0.97])
def test_coverage_of_image_auroc_with_few_patients(patients: int, auroc: float) -> None:
    # 30 patients, 15-16 a class, are fewer than a report gives an interval for.
    assert 0.925 <= coverages(f"{patients} patients", auroc, lambda seed: image_figures(seed, patients, auroc)) <= 0.98


@pytest.mark.slow
@pytest.mark.parametrize(("effect", "spread"), [(1.0, 0.25), (2.5, 0.25)])
def test_coverage_of_conditioned_auroc_at_200_patients(effect: float, spread: float) -> None:
    truth = true_localized(effect, spread)
    found = coverages("200 localized patients", truth, lambda seed: localized_figures(seed, 200, effect, spread))
    assert 0.935 <= found <= 0.965


@pytest.mark.slow
@pytest.mark.parametrize("patients", [30, 60])
@pytest.mark.parametrize(("effect", "spread"), [(1.0, 0.25), (2.5, 0.25)])
def test_coverage_of_conditioned_auroc_with_few_patients(patients: int, effect: float, spread: float) -> None:
    truth = true_localized(effect, spread)
    name = f"{patients} localized patients"
    assert 0.915 <= coverages(name, truth, lambda seed: localized_figures(seed, patients, effect, spread)) <= 0.97


@pytest.mark.slow
def test_coverage_where_few_patients_carry_the_error() -> None:
    """One patient in 44 is marked the wrong way round; samples that lack them look surer than they are."""
    truth = true_localized(4.0, 0.5)
    for patients, least in ((30, 0.8), (60, 0.85), (200, 0.9)):
        name = f"{patients} localized patients, uneven"
        study = partial(localized_figures, patients=patients, effect=4.0, spread=0.5)
        assert coverages(name, truth, study, studies=1000) >= least


def other_intervals(study: tuple[np.ndarray, np.ndarray, np.ndarray], figures: Study) -> dict[str, tuple[float, float]]:
    """Intervals that were tried and not taken."""
    value, drawn, patients = figures
    quantile = t.ppf(0.975, patients - 1)
    error, delong = drawn.std(ddof=1), delong_clustered(*study)[1]
    wide = np.sqrt(patients / (patients - 1)) * quantile * np.array([-1, 1])
    bias = norm.ppf(np.clip(((drawn < value).mean() + (drawn <= value).mean()) / 2, 1e-4, 1 - 1e-4))
    slopes = influences(*study)
    spread = (slopes**2).sum() ** 1.5
    acceleration = (slopes**3).sum() / (6 * spread) if spread > 0 else 0.0

    def bca(points: np.ndarray, acceleration: float) -> tuple[float, float]:
        levels = norm.cdf(bias + (bias + points) / (1 - acceleration * (bias + points)))
        low, high = np.quantile(drawn, levels)
        return low, high

    half = quantile * delong / max(value * (1 - value), 1e-9)
    return {
        "bias-corrected, expanded": bca(wide, 0.0),
        "BCa": bca(np.asarray(norm.ppf([0.025, 0.975])), acceleration),
        "BCa, expanded": bca(wide, acceleration),
        "no transformation": (value - quantile * error, value + quantile * error),
        "logit, DeLong error": (
            logit_interval(value, drawn, patients)
            if value in (0, 1)
            else (expit(logit(value) - half), expit(logit(value) + half))
        ),
    }


def influences(scores: np.ndarray, labels: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """What each patient adds to the AUROC: its placement values minus the AUROC, over the images of the class."""
    wins = scores[labels][:, None] > scores[~labels]
    own = np.zeros(len(ids))
    own[labels] = (wins.mean(axis=1) - wins.mean()) / labels.sum()
    own[~labels] = (wins.mean(axis=0) - wins.mean()) / (~labels).sum()
    return np.bincount(ids, own)


@pytest.mark.slow
@pytest.mark.parametrize("patients", [30, 60, 200])
def test_other_intervals_at_auroc_97(patients: int) -> None:
    studies = 1000
    hits: defaultdict[str, int] = defaultdict(int)
    for seed in range(studies):
        figures = image_figures(seed, patients, 0.97)
        for name, (low, high) in other_intervals(image_study(seed, patients, 0.97), figures).items():
            hits[name] += low <= 0.97 <= high
        low, high = logit_interval(*figures)
        hits["logit"] += low <= 0.97 <= high
    print(f"\n{patients} patients:", ", ".join(f"{name} {count / studies:.3f}" for name, count in hits.items()))
    assert abs(hits["logit"] / studies - 0.95) <= abs(hits["no transformation"] / studies - 0.95)


def size(name: str, p_values: list[float]) -> float:
    """Share of studies without a gap in which the test finds one at .05."""
    share = float(np.mean(np.array(p_values) <= 0.05))
    print(f"\n{name}: size {share:.3f} at .05, {np.mean(np.array(p_values) <= 0.1):.3f} at .1")
    return share


@pytest.mark.slow
@pytest.mark.parametrize("levels", [2, 4])
@pytest.mark.parametrize("patients", [60, 200])
def test_size_of_the_permutation_test_of_image_auroc(patients: int, levels: int) -> None:
    p_values = []
    for seed in range(1000):
        scores, labels, ids = image_study(seed, patients, 0.8)
        level = np.random.default_rng([seed, 7]).permutation(np.arange(patients) % (levels + 1) % levels)[ids]
        p_values.append(permutation_test(ImageStatistic(scores, labels, ids), level, 199, seed).p)
    # 200 possible values of p: at most .05 in exactly 10 of them. Binomial limits of 99.9 %.
    assert binomtest(round(1000 * size(f"{patients} patients, {levels} levels", p_values)), 1000, 0.05).pvalue > 0.001


@pytest.mark.slow
@pytest.mark.parametrize("patients", [60, 200])
def test_size_of_the_permutation_test_of_conditioned_auroc(patients: int) -> None:
    p_values = []
    for seed in range(1000):
        images = np.random.default_rng([seed, patients, 1]).integers(1, 5, patients)
        matrices, ids = localized_study(seed, images, 1.0, 0.25)
        level = np.random.default_rng([seed, 7]).permutation(np.arange(patients) % 3 % 2)[ids]
        p_values.append(permutation_test(ConditionedStatistic(matrices, ids), level, 199, seed).p)
    found = size(f"{patients} localized patients, 2 levels", p_values)
    assert binomtest(round(1000 * found), 1000, 0.05).pvalue > 0.001


@pytest.mark.slow
def test_permutation_test_with_levels_alike_in_auroc_only() -> None:
    """Level 1 is a third of the patients and has one image each, the rest has several: not exchangeable."""
    p_values = []
    for seed in range(1000):
        scores, labels, ids = image_study(seed, 200, 0.8)
        level = np.random.default_rng([seed, 7]).permutation(np.arange(200) % 3 == 0)[ids].astype(int)
        kept = (level == 0) | (np.arange(len(ids)) == np.searchsorted(ids, ids))
        statistic = ImageStatistic(scores[kept], labels[kept], ids[kept])
        p_values.append(permutation_test(statistic, level[kept], 199, seed).p)
    assert 0.03 <= size("200 patients, one level with one image a patient", p_values) <= 0.08


@pytest.mark.slow
@pytest.mark.parametrize("levels", [2, 3])
@pytest.mark.parametrize("patients", [60, 200])
def test_size_of_the_bootstrap_test(patients: int, levels: int) -> None:
    p_values = []
    for seed in range(STUDIES):
        study = image_study(seed, patients, 0.8)
        _, labels, ids = study
        level = np.random.default_rng([seed, 7]).integers(0, levels, len(ids))
        gaps, smallest = [], patients
        for name in range(levels):
            own, rest = (image_replicates(study, part, patients, seed) for part in (level == name, level != name))
            gaps.append((own[0] - rest[0], own[1] - rest[1]))
            smallest = min(smallest, *(len(np.unique(ids[(level == name) & (labels == y)])) for y in (False, True)))
        observed, replicates = zip(*gaps, strict=True)
        test = bootstrap_gap_test(observed, np.stack(replicates, axis=1), np.arange(levels), smallest)
        p_values.append(test.p)
    found = size(f"{patients} patients, {levels} levels within patients", p_values)
    assert binomtest(round(STUDIES * found), STUDIES, 0.05).pvalue > 0.001
