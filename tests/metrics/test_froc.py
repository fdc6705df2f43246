"""FROC against plain loops, with its invariances, its ties and its replicates."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.measure import label

from vitad_med.errors import DataError
from vitad_med.metrics.candidates import region_events
from vitad_med.metrics.froc import GRID, POINTS, Froc, froc_figures
from vitad_med.metrics.regions import mask_regions

Regions = list[list[tuple[int, int, int, int]]]
AT = (0.0, 0.1, 1 / 3, 0.5, 1.0, 2.0, 8.0)


def candidates(image: np.ndarray, threshold: float) -> list[tuple[float, list[tuple[int, int]]]]:
    """Score and tied locations of each component."""
    labels = label(image >= threshold, connectivity=2)
    parts = [np.argwhere(labels == k) for k in range(1, labels.max() + 1)]
    scored = [(max(image[y, x] for y, x in part), part) for part in parts]
    return [(peak, [(y, x) for y, x in part if image[y, x] == peak]) for peak, part in scored]


def found(image: np.ndarray, region: tuple[int, int, int, int], score: float, threshold: float) -> float:
    """Mean over all ways to choose one location among the tied ones of each candidate."""
    y0, y1, x0, x1 = region
    places = [tied for peak, tied in candidates(image, threshold) if peak >= score]
    ways = [any(y0 <= y < y1 and x0 <= x < x1 for y, x in choice) for choice in product(*places)]
    return float(np.mean(ways))


def looped(
    normal: list[np.ndarray], abnormal: list[np.ndarray], regions: Regions, threshold: float, at: tuple[float, ...]
) -> list[float]:
    """Every score as a threshold; the best sensitivity whose false positives do not exceed x."""
    marks = [peak for image in normal for peak, _ in candidates(image, threshold)]
    peaks = {peak for image in abnormal for peak, _ in candidates(image, threshold)}
    points = [(0.0, 0.0)]
    for score in peaks | set(marks):
        hits = [found(i, r, score, threshold) for i, own in zip(abnormal, regions, strict=True) for r in own]
        points.append((sum(mark >= score for mark in marks) / len(normal), float(np.mean(hits))))
    return [max(y for rate, y in points if rate <= x + 1e-12) for x in at]


def make(seed: int, levels: int, size: int = 7) -> tuple[list[np.ndarray], list[np.ndarray], Regions]:
    generator = np.random.default_rng(seed)
    normal = list(generator.integers(0, levels, (4, size, size)).astype(np.float32))
    abnormal = list(generator.integers(0, levels, (3, size, size)).astype(np.float32))
    regions: Regions = []
    for _ in abnormal:
        corners = generator.integers(0, size - 3, (generator.integers(1, 4), 2))
        regions.append([(int(y), int(y) + 3, int(x), int(x) + 3) for y, x in corners])
    return normal, abnormal, regions


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.sampled_from([(100, 80), (1000, 700), (40, 34), (12, 11)]))
def test_equals_the_definition(seed: int, scale: tuple[int, int]) -> None:
    levels, threshold = scale
    normal, abnormal, regions = make(seed, levels)
    froc = Froc.build(normal, abnormal, regions, threshold)
    np.testing.assert_allclose(froc.sensitivity(AT), looped(normal, abnormal, regions, threshold, AT), atol=1e-12)
    assert froc.end == sum(len(candidates(image, threshold)) for image in normal) / 4


def test_rectangles_and_masks_are_the_same_regions() -> None:
    normal, abnormal, regions = make(1, 100)
    masks = []
    for own in regions:
        stack = np.zeros((len(own), 7, 7), dtype=bool)
        for mask, (y0, y1, x0, x1) in zip(stack, own, strict=True):
            mask[y0:y1, x0:x1] = True
        masks.append(stack)
    by_box, by_mask = Froc.build(normal, abnormal, regions, 60), Froc.build(normal, abnormal, masks, 60)
    np.testing.assert_array_equal(by_box.event_scores, by_mask.event_scores)
    np.testing.assert_array_equal(by_box.event_region, by_mask.event_region)
    np.testing.assert_array_equal(by_box.event_share, by_mask.event_share)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**6), st.sampled_from([5, 1000]))
def test_the_curve_rises_and_increasing_transforms_and_mirrors_leave_it(seed: int, levels: int) -> None:
    normal, abnormal, regions = make(seed, levels)
    threshold = 0.7 * levels
    curve = Froc.build(normal, abnormal, regions, threshold).sensitivity()
    assert (np.diff(curve) >= 0).all()
    assert 0 <= curve[0] <= curve[-1] <= 1

    moved = Froc.build([i**3 for i in normal], [i**3 for i in abnormal], regions, threshold**3)
    np.testing.assert_array_equal(moved.sensitivity(), curve)
    mirrored = Froc.build(
        [i[::-1, ::-1] for i in normal],
        [i[::-1, ::-1] for i in abnormal],
        [[(7 - y1, 7 - y0, 7 - x1, 7 - x0) for y0, y1, x0, x1 in own] for own in regions],
        threshold,
    )
    np.testing.assert_allclose(mirrored.sensitivity(), curve, atol=1e-12)


def test_ties_within_a_component_are_a_share_and_separate_candidates_add_up() -> None:
    image = np.zeros((6, 6))
    image[0, 0:4] = 3.0  # four tied pixels, one of them in the region
    image[4, 0] = 2.0  # a lower candidate, outside
    image[2, 2:4] = 1.0  # two tied pixels, one in the region
    scores, region, share = region_events(image, 1.0, [(0, 3, 3, 6), (5, 6, 5, 6)])
    assert scores.tolist() == [3, 1]
    assert region.tolist() == [0, 0]
    np.testing.assert_allclose(share, [1 / 4, 3 / 4 * 1 / 2])


def test_a_constant_map_finds_a_region_by_chance_alone() -> None:
    image = np.ones((10, 10), dtype=np.float32)
    froc = Froc.build([image] * 3, [image] * 2, [[(0, 2, 0, 5)], [(0, 10, 0, 3)]], 1.0)
    np.testing.assert_allclose(froc.sensitivity([0, 0.99, 1, 8]), [0, 0, 0.2, 0.2])
    # Above its maximum nothing is a candidate: a sensitivity of zero, not a missing figure.
    assert (Froc.build([image] * 3, [image] * 2, [[(0, 2, 0, 5)], []], 1.5).sensitivity() == 0).all()


def test_a_map_equal_to_the_truth_finds_every_region() -> None:
    generator = np.random.default_rng(3)
    masks = np.zeros((5, 20, 20), dtype=bool)
    for mask in masks:
        y, x = generator.integers(0, 6, 2)
        mask[y : y + 4, x : x + 4] = mask[y + 8 : y + 11, x + 7 : x + 12] = True
    blank = np.zeros((4, 20, 20), dtype=np.float32)
    froc = Froc.build(blank, masks.astype(np.float32), [mask_regions(mask) for mask in masks], 0.5)
    assert len(froc.region_image) == 10
    assert (froc.sensitivity() == 1).all()
    assert froc.end == 0
    inverted = Froc.build(blank, 1.0 - masks, [mask_regions(mask) for mask in masks], 0.5)
    assert (inverted.sensitivity() == 0).all()


def test_a_rate_that_stands_for_a_whole_number_of_false_positives_allows_them() -> None:
    # 1/49 of 49 images is 0.9999999999999999 in floating point.
    image = np.zeros((4, 4), dtype=np.float32)
    image[1, 1] = 1
    froc = Froc.build([image] + [image * 0] * 48, [image], [[(0, 2, 0, 2)]], 0.5)
    assert froc.sensitivity([0.02, 1 / 49]).tolist() == [0, 1]


def test_figures_are_read_at_the_seven_points() -> None:
    assert GRID[0] == 0
    assert set(POINTS) <= set(GRID.tolist())
    normal, abnormal, regions = make(4, 1000)
    froc = Froc.build(normal, abnormal, regions, 600)
    figures = froc_figures(froc.sensitivity())
    points = froc.sensitivity(POINTS)
    assert figures["froc_mean"] == pytest.approx(points.mean())
    assert figures["froc_1"] == points[3]
    curves = froc.sensitivity(normal_weights=np.ones((3, 4)), abnormal_weights=np.ones((3, 3)))
    np.testing.assert_array_equal(froc_figures(curves)["froc_mean"], np.full(3, figures["froc_mean"]))


@pytest.mark.parametrize("dtype", [np.uint16, np.float64])
@pytest.mark.parametrize("levels", [12, 1000])
def test_weights_are_repetitions(monkeypatch: pytest.MonkeyPatch, dtype: type, levels: int) -> None:
    monkeypatch.setattr("vitad_med.metrics.froc._IMAGES", 3)
    monkeypatch.setattr("vitad_med.metrics.froc._REPLICATES", 2)
    normal, abnormal, regions = make(5, levels)
    generator = np.random.default_rng(6)
    wn, wa = generator.integers(0, 4, (5, 4)).astype(dtype), generator.integers(0, 4, (5, 3)).astype(dtype)
    wn[3], wa[4] = 0, 0
    threshold = 0.75 * levels
    values = Froc.build(normal, abnormal, regions, threshold).sensitivity(AT, wn, wa)
    assert values.shape == (5, len(AT))
    for row in range(3):
        n, a = np.repeat(np.arange(4), wn[row].astype(int)), np.repeat(np.arange(3), wa[row].astype(int))
        repeated = looped([normal[i] for i in n], [abnormal[i] for i in a], [regions[i] for i in a], threshold, AT)
        np.testing.assert_allclose(values[row], repeated, atol=1e-12)
    assert np.isnan(values[3:]).all()


def test_fractional_and_large_weights_scale_nothing() -> None:
    normal, abnormal, regions = make(7, 1000)
    froc = Froc.build(normal, abnormal, regions, 600)
    plain = froc.sensitivity(AT)
    for factor in (0.3, 2.0**23):
        np.testing.assert_allclose(froc.sensitivity(AT, np.full(4, factor), np.full(3, factor)), plain, atol=1e-12)
    # One kind alone may have replicates.
    np.testing.assert_array_equal(froc.sensitivity(AT, np.ones((2, 4))), np.stack([plain, plain]))
    np.testing.assert_array_equal(froc.sensitivity(AT, None, np.ones((2, 3))), np.stack([plain, plain]))


def test_counts_beyond_the_whole_numbers_of_float32_are_exact() -> None:
    image = np.zeros((4, 4), dtype=np.float32)
    image[1, 1] = 1
    froc = Froc.build([image, image], [image], [[(0, 2, 0, 2)]], 0.5)
    many = 2**24
    # One false positive too many, which float32 would round away.
    assert froc.sensitivity([many / (many + 1), 1.0], [many, 1], [1]).tolist() == [0, 1]


def test_a_cohort_restricts_false_positives_and_regions() -> None:
    normal, abnormal, regions = make(8, 1000)
    froc = Froc.build(normal, abnormal, regions, 600)
    cohort = froc.cohort(normal=[2, 0], abnormal=np.array([True, False, True]))
    expected = Froc.build([normal[2], normal[0]], [abnormal[0], abnormal[2]], [regions[0], regions[2]], 600)
    np.testing.assert_array_equal(cohort.sensitivity(), expected.sensitivity())
    assert (cohort.abnormals, cohort.candidates.tolist()) == (2, expected.candidates.tolist())
    assert cohort.candidates[0] != cohort.candidates[1]
    weights = np.array([[2, 1], [0, 3]])
    np.testing.assert_array_equal(cohort.sensitivity(AT, weights, weights), expected.sensitivity(AT, weights, weights))
    # The regions of one finding: one of the first image, one of the last.
    last = len(froc.region_image) - 1
    finding = froc.cohort(regions=[0, last])
    expected = Froc.build(normal, abnormal, [regions[0][:1], [], regions[2][-1:]], 600)
    np.testing.assert_array_equal(finding.sensitivity(), expected.sensitivity())
    assert finding.region_image.tolist() == [0, 2]
    np.testing.assert_array_equal(froc.cohort().sensitivity(), froc.sensitivity())


def test_figures_that_do_not_exist_are_nan() -> None:
    normal, abnormal, regions = make(9, 100)
    nothing = Froc.build([], abnormal, regions, np.nan)
    assert np.isnan(nothing.sensitivity()).all()
    assert np.isnan(nothing.end)
    assert np.isnan(Froc.build(normal, [], [], 50).sensitivity()).all()
    assert np.isnan(Froc.build(normal, abnormal, [[], [], []], 50).sensitivity()).all()
    froc = Froc.build(normal, abnormal, regions, 50)
    assert np.isnan(froc.cohort(normal=[]).sensitivity(AT, np.ones((2, 0)), np.ones((2, 3)))).all()
    assert np.isnan(froc.cohort(abnormal=np.zeros(3, dtype=bool)).sensitivity()).all()


def test_wrong_input() -> None:
    normal, abnormal, regions = make(10, 100)
    with pytest.raises(DataError, match="threshold is NaN"):
        Froc.build(normal, abnormal, regions, np.nan)
    with pytest.raises(DataError, match="abnormal image 2 has no list of regions"):
        Froc.build(normal, abnormal, regions[:2], 50)
    with pytest.raises(DataError, match=r"abnormal map 1: region 0, \(y0, y1, x0, x1\) = \(5, 9, 0, 1\)"):
        Froc.build(normal, abnormal, [regions[0], [(5, 9, 0, 1)], regions[2]], 50)
    with pytest.raises(DataError, match="region 1 marks no pixel"):
        region_events(abnormal[0], 50, np.stack([np.ones((7, 7)), np.zeros((7, 7))]))
    with pytest.raises(DataError, match="whole numbers"):
        region_events(abnormal[0], 50, [(0.1, 0.2, 0.3, 0.4)])
    with pytest.raises(DataError, match="other than 0 and 1"):
        region_events(abnormal[0], 50, np.full((1, 7, 7), 2))
    with pytest.raises(DataError, match=r"normal map 0: 1 of 49 values are not finite \(1 NaN"):
        Froc.build([np.where(np.arange(49).reshape(7, 7) == 3, np.nan, normal[0])], [], [], 50)
    with pytest.raises(DataError, match=r"normal map 0 \[4, 7, 7\]"):
        Froc.build([np.stack(normal)], [], [], 50)
    froc = Froc.build(normal, abnormal, regions, 50)
    with pytest.raises(DataError, match="5 and 2 replicates"):
        froc.sensitivity(AT, np.ones((5, 4)), np.ones((2, 3)))
    with pytest.raises(DataError, match=r"weights \[2, 5\]"):
        froc.sensitivity(AT, np.ones((2, 5)), np.ones((2, 3)))
    with pytest.raises(DataError, match="not negative"):
        froc.sensitivity([-1.0])
    with pytest.raises(DataError, match="3 flags for 4 normal images"):
        froc.cohort(normal=np.ones(3, dtype=bool))
    with pytest.raises(DataError, match="use weights to repeat"):
        froc.cohort(abnormal=[0, 0])
