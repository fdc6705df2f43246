"""The check, the reading and the writing of report.json."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from vitad_med.errors import DataError
from vitad_med.reporting.document.document import check_report, read_report, write_report

Samples = dict[str, Callable[[], dict[str, Any]]]


def change(report: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split("/")
    place: Any = report
    for key in parents:
        place = place[int(key) if isinstance(place, list) else key]
    if value is KeyError:
        del place[last]
    else:
        place[last] = value


def test_every_kind_of_report_survives_writing_and_reading(samples: Samples, tmp_path: Path) -> None:
    for name, build in samples.items():
        write_report(tmp_path / name, build())
        again = read_report(tmp_path / name)
        write_report(tmp_path / "again", again)
        assert (tmp_path / "again").read_bytes() == (tmp_path / name).read_bytes()


def test_bytes_do_not_depend_on_the_order_of_keys_but_cohorts_keep_theirs(samples: Samples, tmp_path: Path) -> None:
    report = samples["full"]()
    turned = dict(reversed(report.items()))
    turned["method"] = dict(reversed(report["method"].items()))
    turned["cohorts"] = {key: dict(reversed(cohort.items())) for key, cohort in report["cohorts"].items()}
    write_report(tmp_path / "a.json", report)
    write_report(tmp_path / "b.json", turned)
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert list(json.loads((tmp_path / "a.json").read_text())["cohorts"]) == list(report["cohorts"])


def test_figures_have_six_decimals_and_scores_nine_digits(samples: Samples, tmp_path: Path) -> None:
    report = samples["full"]()
    report["cohorts"]["all"]["image"]["image_auroc"] |= {"value": 0.12345678, "low": 0.1, "high": 0.2}
    report["gaps"][0]["p"] = -0.0
    report["operating_point"]["threshold"] = 0.1 + 0.2
    report["distributions"]["edges"][1] = 1.00000000049e-05
    write_report(tmp_path / "report.json", report)
    written = json.loads((tmp_path / "report.json").read_text())
    assert written["cohorts"]["all"]["image"]["image_auroc"]["value"] == 0.123457
    assert written["operating_point"]["threshold"] == 0.1 + 0.2
    assert written["distributions"]["edges"] == [0.0, 0.00001, 0.00002]
    text = (tmp_path / "report.json").read_text()
    assert '"p": 0.0,' in text
    assert '"edges": [0.0, 1e-05, 2e-05]' in text
    assert max(map(len, text.splitlines())) < 1000


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("schema", "vitad_med/report/9", "reads 'vitad_med/report/1'"),
        ("flow", KeyError, "lacks the key 'flow'"),
        ("method/name", 3, "method.name must be text"),
        ("data/public", "yes", "data.public must be true or false"),
        ("settings/replicates", True, "settings.replicates must be a whole number"),
        ("settings/level", 1.5, "settings.level must be in 0..1"),
        ("flow/read/images", -1, "flow.read.images must be in 0"),
        ("flow/excluded/0/reason", KeyError, r"flow.excluded\[0\] lacks the key 'reason'"),
        ("cohorts/all", KeyError, "cohorts must be an object with 'all'"),
        ("cohorts/men", {}, "cohorts.men lacks the key 'name'"),
        ("cohorts/sex=M/localization/froc_1", KeyError, "cohorts.sex=M.localization lacks the key 'froc_1'"),
        ("cohorts/sex=M/image/image_ap/value", 1.2, "image_ap.value must be in 0..1"),
        ("cohorts/sex=M/image/image_ap/value", float("nan"), "image_ap.value must be a finite number"),
        ("cohorts/sex=M/image/image_ap/value", None, "image_ap.value must be a number"),
        ("cohorts/sex=M/image/image_ap/low", None, "both ends or none"),
        ("cohorts/sex=M/image/image_ap/low", 0.99, "low end is not above"),
        ("cohorts/sex=M/image/image_ap/reason", "none", "must be null in value"),
        ("cohorts/sex=M/differences/brightness/value", -1.5, "differences.brightness.value must be in -1..1"),
        ("cohorts/sex=M/verdict/answer", "maybe", "verdict.answer must be one of 'yes'"),
        ("operating_point/cohorts/all/alarms_per_100/value", 101.0, "alarms_per_100.value must be in 0..100"),
        ("operating_point/threshold", None, "operating_point.reason must be text"),
        ("operating_point/cohorts/sex=X", "x", "operating_point.cohorts.sex=X must be an object"),
        ("gaps/0/levels/0/cohort", "sex=X", "about cohorts of the report, which 'sex=X' is not"),
        ("curves/roc/all/low", [0.0], "curves.roc.all must be a curve with as many"),
        ("curves/froc_nulls/centre_blob/y", [0.0], "curves.froc_nulls.centre_blob must be"),
        ("distributions/normal", [1], "distributions.normal must be 2 counts"),
        ("drift/rows/0/shifted", None, r"drift.rows\[0\].shifted must be true or false"),
        ("notes", "text", "notes must be a list"),
    ],
)
def test_the_first_fault_is_named(samples: Samples, path: str, value: Any, message: str) -> None:
    report = samples["full"]()
    change(report, path, deepcopy(value))
    with pytest.raises(DataError, match=message):
        check_report(report)


def test_keys_of_a_later_version_are_let_through_and_kept(samples: Samples, tmp_path: Path) -> None:
    report = samples["full"]()
    report["data"]["further"] = {"a": 1}
    write_report(tmp_path / "report.json", report)
    assert read_report(tmp_path / "report.json")["data"]["further"] == {"a": 1}  # type: ignore[typeddict-item]


@pytest.mark.parametrize(
    ("content", "message"), [(None, "vitad-med report"), ("{", "not readable JSON"), ("[]", "object"), ("NaN", "NaN")]
)
def test_a_file_that_is_no_report_is_named_with_the_remedy(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "report.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=message) as caught:
        read_report(path)
    assert str(path) in str(caught.value)


def test_the_file_and_the_key_are_named(samples: Samples, tmp_path: Path) -> None:
    report = samples["full"]()
    report["cohorts"]["sex=M"]["n_images"] = "many"
    (tmp_path / "report.json").write_text(json.dumps(report))
    with pytest.raises(DataError, match=r"report\.json: cohorts\.sex=M\.n_images must be a whole number"):
        read_report(tmp_path / "report.json")
