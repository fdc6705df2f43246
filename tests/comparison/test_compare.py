"""Paired comparison of two runs: known differences, independent recomputation, and what cannot be compared."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import average_precision_score, roc_auc_score

from vitad_med.comparison.compare import PRIMARY, compare_runs
from vitad_med.comparison.document import write_comparison
from vitad_med.comparison.paired_figures import IMAGE, LOCALIZATION, Drawn
from vitad_med.comparison.paired_figures import compared as compare_figure
from vitad_med.errors import ConfigError, DataError
from vitad_med.evaluation.truth import truth_masks
from vitad_med.metrics.bootstrap import interval, patient_weights
from vitad_med.metrics.conditioned import PairMatrices, conditioned_auroc, position_auroc, within_image_midranks
from vitad_med.metrics.localization import pointing_hits
from vitad_med.metrics.pooled import pixel_auroc
from vitad_med.predictions.reader import read_predictions
from vitad_med.predictions.records import Predictions

METRICS = IMAGE + LOCALIZATION
KEY = b"a secret of the test"
HELPERS = runpy.run_path(str(Path(__file__).with_name("runs.py")))
write_run: Callable[..., list[dict[str, Any]]] = HELPERS["write_run"]
write_table, read_table = HELPERS["write_table"], HELPERS["read_table"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Predictions, Predictions]:
    """A knows nothing, B marks the boxes faintly."""
    folder = tmp_path_factory.mktemp("runs")
    write_run(folder / "a", quality=0.0)
    write_run(folder / "b", quality=0.6, method="b")
    return read_predictions(folder / "a"), read_predictions(folder / "b")


def figures(comparison: Any, key: str = "all") -> Any:
    return comparison["cohorts"][key]["metrics"]


def test_a_run_against_itself_differs_by_exactly_nothing(runs: tuple[Predictions, Predictions]) -> None:
    comparison = compare_runs(runs[1], runs[1], by=(("sex",), ("finding",), ("sex", "view")), replicates=200)
    assert len(comparison["cohorts"]) == 8
    for cohort in comparison["cohorts"].values():
        for name, compared in cohort["metrics"].items():
            difference = compared["difference"]
            assert difference["value"] == 0
            assert difference["low"] in (0, None)
            assert difference["high"] == difference["low"]
            assert compared["p"] in ((1, None) if name in PRIMARY else (None,))
        assert cohort["delong"] in (None, {"value": 0, "low": 0, "high": 0, "p": 1})
    assert comparison["cohorts"]["all"]["delong"] is not None
    assert comparison["cohorts"]["all"]["verdict"]["answer"] == "no"


def test_values_agree_with_other_code(runs: tuple[Predictions, Predictions]) -> None:
    comparison = compare_runs(*runs, by=(("sex",),), replicates=20)
    for key, sex in (("all", None), ("sex=F", "F")):
        for side, run in zip("ab", runs, strict=True):
            chosen = [i for i, case in enumerate(run.cases) if sex in (None, case.sex)]
            local = [i for i in chosen if run.cases[i].localized]
            labels, scores = np.array([run.cases[i].label for i in chosen]), run.scores[chosen]
            maps, masks = np.stack([run.map(i) for i in local]), truth_masks([run.cases[i] for i in local], 16)
            expected = {
                "image_auroc": roc_auc_score(labels, scores),
                "image_ap": average_precision_score(labels, scores),
                "pixel_auroc": pixel_auroc(maps, masks),
                "position_auroc": position_auroc(maps, masks),
                "conditioned_auroc": conditioned_auroc(maps, masks),
                "pointing_game": pointing_hits(maps, masks).mean(),
            }
            found = {name: compared[side]["value"] for name, compared in figures(comparison, key).items()}
            assert found == pytest.approx(expected, abs=1e-6)
            assert [compared[side]["n"] for compared in figures(comparison, key).values()] == [
                len(chosen) if name.startswith("image") else len(local) for name in METRICS
            ]
    for compared in figures(comparison).values():
        assert compared["difference"]["value"] == pytest.approx(
            compared["b"]["value"] - compared["a"]["value"], abs=2e-6
        )


def test_intervals_and_p_values_come_from_paired_replicates(tmp_path: Path) -> None:
    write_run(tmp_path / "a", quality=0.0)
    write_run(tmp_path / "b", quality=0.0)
    rows = read_table(tmp_path / "b" / "predictions.csv")
    shift = np.random.default_rng(1).normal(0.05, 0.6, len(rows))
    for row, change in zip(rows, shift, strict=True):
        row["score"] = repr(float(row["score"]) + float(change) * int(row["label"]))
    write_table(tmp_path / "b" / "predictions.csv", rows)
    a, b = read_predictions(tmp_path / "a"), read_predictions(tmp_path / "b")
    comparison = compare_runs(a, b, by=(), replicates=300, seed=5)

    labels = np.array([case.label for case in a.cases])
    weights = patient_weights([case.patient_id for case in a.cases], labels, 300, seed=5)
    drawn = np.array(
        [
            roc_auc_score(labels, b.scores, sample_weight=w) - roc_auc_score(labels, a.scores, sample_weight=w)
            for w in weights
        ]
    )
    compared = figures(comparison)["image_auroc"]
    low, high = np.quantile(drawn, [0.025, 0.975])
    # The interval is wider than the plain percentiles by the small-sample factor for 60 patients, and by little.
    width = compared["difference"]["high"] - compared["difference"]["low"]
    assert 1.0 < width / (high - low) < 1.2
    assert compared["difference"]["low"] <= low < high <= compared["difference"]["high"]
    one_side = int(min((drawn < 1e-12).sum(), (drawn > -1e-12).sum()))
    assert 0.01 < compared["p"] < 0.99
    assert compared["p"] == pytest.approx(2 * (one_side + 1) / 301)
    # Paired: the interval of each figure alone is far wider.
    assert compared["a"]["high"] - compared["a"]["low"] > 1.3 * width
    # DeLong, an independent route to the error of the difference.
    delong = comparison["cohorts"]["all"]["delong"]
    assert delong is not None
    error = (delong["high"] - delong["low"]) / (2 * norm.ppf(0.975))
    assert error == pytest.approx(drawn.std(), rel=0.15)
    assert delong["p"] == pytest.approx(2 * norm.sf(abs(delong["value"]) / error), abs=1e-6)


def test_a_finding_is_compared_on_its_own_boxes(tmp_path: Path) -> None:
    for name in "ab":
        write_run(tmp_path / name, quality=0.4 * (name == "b"), findings=("Mass", "Effusion"))
    a, b = (read_predictions(tmp_path / name) for name in "ab")
    compared = figures(compare_runs(a, b, by=(("finding",),), replicates=200, seed=3), "finding=Effusion")
    compared = compared["conditioned_auroc"]
    local = [i for i, case in enumerate(a.cases) if case.findings == ("Effusion",)]
    masks = truth_masks([a.cases[i] for i in local], 16)
    pairs = [PairMatrices.build(within_image_midranks(np.stack([run.map(i) for i in local])), masks) for run in (a, b)]
    weights = patient_weights([c.patient_id for c in a.cases], [c.label for c in a.cases], 200, seed=3)[:, local]
    drawn = np.asarray(pairs[1].auroc(weights)) - np.asarray(pairs[0].auroc(weights))
    assert compared["difference"]["n"] == len(local) < 80
    assert compared["a"]["value"] == pytest.approx(pairs[0].auroc(), abs=1e-6)
    ends = interval(drawn, 0.95, patients=len({a.cases[i].patient_id for i in local}))
    assert (compared["difference"]["low"], compared["difference"]["high"]) == pytest.approx(ends, abs=1e-6)


def test_sums_in_another_order_are_no_difference() -> None:
    rng = np.random.default_rng(0)
    replicates = rng.uniform(0.4, 0.6, 100)
    result = compare_figure(Drawn(0.5, replicates), Drawn(0.5 + 1e-16, replicates + 1e-16), 50, 40, 0.95, True)
    assert (result["difference"]["value"], result["difference"]["low"], result["difference"]["high"]) == (0, 0, 0)
    assert result["p"] == 1
    nothing = compare_figure(Drawn(float("nan"), None), Drawn(0.5, None), 50, 40, 0.95, True)
    assert nothing["difference"]["reason"] == "no pair of a positive and a negative to compare"


def test_a_better_map_is_found_and_swapping_turns_the_signs(runs: tuple[Predictions, Predictions]) -> None:
    forth = compare_runs(*runs, by=(("sex", "view"),), replicates=400)
    back = compare_runs(runs[1], runs[0], by=(("sex", "view"),), replicates=400)
    assert forth["cohorts"]["all"]["verdict"]["answer"] == "yes"
    assert back["cohorts"]["all"]["verdict"]["answer"] == "no"
    assert "B localizes better than A: yes (.6" in forth["cohorts"]["all"]["verdict"]["sentence"]
    assert "no, A localizes better" in back["cohorts"]["all"]["verdict"]["sentence"]
    assert forth["cohorts"]["sex=M,view=AP"]["verdict"]["answer"] == "cannot tell"
    for name in METRICS:
        one, other = figures(forth)[name]["difference"], figures(back)[name]["difference"]
        assert one["value"] == -other["value"]
        assert (one["low"], one["high"]) == pytest.approx((-other["high"], -other["low"]), abs=1e-9)


def test_p_values_are_adjusted_over_all_cohorts_and_both_figures(runs: tuple[Predictions, Predictions]) -> None:
    comparison = compare_runs(*runs, by=(("sex",), ("view",)), replicates=100)
    pairs = [figures(comparison, key)[name] for key in comparison["cohorts"] for name in PRIMARY]
    assert len(pairs) == 10
    assert all(pair["p"] is not None for pair in pairs)
    smallest = min(pair["p"] for pair in pairs)
    assert min(pair["p_holm"] for pair in pairs) == pytest.approx(10 * smallest)
    # 100 replicates leave p at 2 / 101 or above: no answer is possible, and the document says so.
    assert {cohort["verdict"]["answer"] for cohort in comparison["cohorts"].values()} == {"cannot tell"}
    assert comparison["notes"] == ["100 replicates cannot answer yes or no for 10 tests together; 400 can."]
    assert compare_runs(*runs, by=(("sex",), ("view",)), replicates=400)["cohorts"]["all"]["verdict"]["answer"] == "yes"


def test_the_same_runs_give_the_same_bytes_in_any_order_of_rows(
    runs: tuple[Predictions, Predictions], tmp_path: Path
) -> None:
    write_run(tmp_path / "a", quality=0.0)
    rows = read_table(tmp_path / "a" / "predictions.csv")
    write_table(tmp_path / "a" / "predictions.csv", rows[::-1])
    turned = read_predictions(tmp_path / "a")
    for expected, found in (
        ((runs[0], runs[1]), (turned, runs[1])),
        ((runs[1], runs[0]), (runs[1], turned)),
    ):
        for name, pair in (("one", expected), ("two", found)):
            comparison = compare_runs(*pair, replicates=50)
            for side in (comparison["a"], comparison["b"]):
                side["digest"] = ""  # of the files, whose rows are in another order
            write_comparison(tmp_path / name, comparison)
        for file in ("compare.json", "compare.csv"):
            assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()
    assert json.loads((tmp_path / "one" / "compare.json").read_text())["schema"] == "vitad_med/comparison/1"


def test_small_cohorts_are_named_and_not_scored(runs: tuple[Predictions, Predictions]) -> None:
    comparison = compare_runs(*runs, by=(("sex",),), replicates=20, min_patients=61)
    assert figures(comparison)["image_auroc"]["difference"]["reason"] == "fewer than 61 patients with normal images"
    assert (
        "cannot tell, fewer than 61 patients with localized images"
        in comparison["cohorts"]["all"]["verdict"]["sentence"]
    )
    assert comparison["cohorts"]["all"]["n_images"] == 160


def test_small_counts_of_private_data_are_suppressed(tmp_path: Path) -> None:
    for name in "ab":
        write_run(tmp_path / name, patients=40, public=False)
        rows = read_table(tmp_path / name / "predictions.csv")
        for row in rows:
            row["sex"] = "F" if row["patient"] < "0003" else "M"
        write_table(tmp_path / name / "predictions.csv", rows)
    a, b = (read_predictions(tmp_path / name) for name in "ab")
    comparison = compare_runs(a, b, by=(("sex",),), replicates=20)
    women = comparison["cohorts"]["sex=F"]
    assert (women["n_images"], women["n_patients"], women["n_localized"]) == (None, None, None)
    assert {compared["difference"]["n"] for compared in women["metrics"].values()} == {None}
    write_comparison(tmp_path / "out", comparison)
    assert "3 patients" not in (tmp_path / "out" / "compare.json").read_text()
    assert "sex=F,women,,,image_auroc,,,,,,,,," in (tmp_path / "out" / "compare.csv").read_text()


def test_without_boxes_scores_are_compared(tmp_path: Path) -> None:
    for name in "ab":
        write_run(tmp_path / name, quality=0.3 * (name == "b"))
        (tmp_path / name / "boxes.csv").unlink()
    a, b = (read_predictions(tmp_path / name) for name in "ab")
    comparison = compare_runs(a, b, by=(("finding",),), replicates=50)
    assert figures(comparison)["conditioned_auroc"]["difference"]["reason"] == "no localized images"
    assert figures(comparison)["image_auroc"]["difference"]["value"] > 0
    assert comparison["cohorts"]["all"]["verdict"]["answer"] == "cannot tell"


def changed(folder: Path, change: Callable[[list[dict[str, str]]], list[dict[str, str]]], table: str) -> Predictions:
    write_run(folder)
    write_table(folder / table, change(read_table(folder / table)))
    return read_predictions(folder)


def with_value(column: str, value: str, rows: slice) -> Callable[[list[dict[str, str]]], list[dict[str, str]]]:
    def change(table: list[dict[str, str]]) -> list[dict[str, str]]:
        for row in table[rows]:
            row[column] = value
        return table

    return change


@pytest.mark.parametrize(
    ("change", "table", "message"),
    [
        (lambda rows: rows[1:], "predictions.csv", "RUN_A has 1 that RUN_B lacks and RUN_B has 0"),
        (with_value("sex", "F", slice(0, 3)), "predictions.csv", "the sex of 3"),
        (with_value("patient", "x", slice(0, 4)), "predictions.csv", "the patient_id of 4"),
        (with_value("x", "0.61", slice(0, 2)), "boxes.csv", "the boxes of 2"),
        (lambda rows: rows[1:], "boxes.csv", "the boxes of 1"),
        (with_value("findings", "Nodule", slice(1, 2)), "predictions.csv", "the findings of 1"),
    ],
)
def test_runs_on_other_images_or_other_truth_are_refused_with_counts(
    runs: tuple[Predictions, Predictions], tmp_path: Path, change: Any, table: str, message: str
) -> None:
    other = changed(tmp_path / "b", change, table)
    with pytest.raises(DataError, match=message) as caught:
        compare_runs(runs[0], other, replicates=10)
    assert "0001_0" not in str(caught.value)


def test_common_compares_the_shared_images_and_says_so(runs: tuple[Predictions, Predictions], tmp_path: Path) -> None:
    write_run(tmp_path / "b", quality=0.6)
    rows, boxes = (read_table(tmp_path / "b" / name) for name in ("predictions.csv", "boxes.csv"))
    gone = {row["image"] for row in rows[:6]}
    write_table(tmp_path / "b" / "predictions.csv", rows[6:])
    write_table(tmp_path / "b" / "boxes.csv", [box for box in boxes if box["image"] not in gone])
    comparison = compare_runs(runs[0], read_predictions(tmp_path / "b"), common=True, replicates=10)
    assert comparison["cohorts"]["all"]["n_images"] == 154
    assert (comparison["a"]["only_here"], comparison["b"]["only_here"]) == (6, 0)
    assert comparison["notes"][0] == "154 shared images were compared, 6 of A and 0 of B left out."


def test_what_one_run_does_not_know_is_taken_from_the_other(
    runs: tuple[Predictions, Predictions], tmp_path: Path
) -> None:
    write_run(tmp_path / "bare")
    rows = read_table(tmp_path / "bare" / "predictions.csv")
    bare = [{key: value for key, value in row.items() if key not in ("patient", "sex", "view")} for row in rows]
    write_table(tmp_path / "bare" / "predictions.csv", bare)
    foreign = read_predictions(tmp_path / "bare")
    expected = compare_runs(*runs, replicates=20)["cohorts"]
    assert compare_runs(foreign, runs[1], replicates=20)["cohorts"] == expected
    assert compare_runs(runs[0], runs[1], replicates=20)["cohorts"] == expected


def test_runs_without_a_common_name_and_on_other_grids_are_refused(
    runs: tuple[Predictions, Predictions], tmp_path: Path
) -> None:
    write_run(tmp_path / "private", public=False, journal={"identifiers": "clear"})
    hashed = read_predictions(tmp_path / "private", identifiers="hashed", identifier_key=KEY)
    with pytest.raises(DataError, match="no image name in common"):
        compare_runs(runs[0], hashed)
    write_run(tmp_path / "small", size=8)
    with pytest.raises(DataError, match="grid of 16 pixels and RUN_B of 8; give --eval_size"):
        compare_runs(runs[0], read_predictions(tmp_path / "small"))
    for setting in ({"replicates": 0}, {"level": 1.0}, {"min_patients": 0}):
        with pytest.raises(ConfigError, match="at least 1"):
            compare_runs(*runs, **setting)
    with pytest.raises(ConfigError, match="scaner"):
        compare_runs(*runs, by=(("scaner",),))


@pytest.mark.slow
def test_equal_methods_are_rarely_told_apart(tmp_path: Path) -> None:
    """Size: two maps of equal quality with noise of their own; an answer is an error, which 5 % of studies allow."""
    answers = []
    for study in range(120):
        folder = tmp_path / str(study)
        write_run(folder / "a", quality=0.3, patients=80, size=8, seed=study)
        write_run(folder / "b", quality=0.3, patients=80, size=8, seed=study)
        rng = np.random.default_rng(10_000 + study)
        for run in "ab":
            for path in sorted((folder / run / "maps").iterdir()):
                np.save(path, np.load(path) + rng.normal(size=(8, 8)).astype(np.float32))
        a, b = (read_predictions(folder / run) for run in "ab")
        answers.append(compare_runs(a, b, by=(), replicates=200)["cohorts"]["all"]["verdict"]["answer"])
    # Binomial(120, 0.05) exceeds 13 in fewer than 1 in 500 draws.
    assert 120 - answers.count("cannot tell") <= 13
