from __future__ import annotations

from pathlib import Path

import pytest

from vitad_med.data.case import Box, Case
from vitad_med.errors import ConfigError
from vitad_med.evaluation.cohorts import cohort_keys, cohort_name, format_key, parse_axes, parse_key, select


def case(name: str, **known: object) -> Case:
    return Case(name, name, Path(f"{name}.png"), "table", "test", **{"label": 0, **known})  # type: ignore[arg-type]


CASES = [
    case("a", sex="F", view="AP", age=40.0, label=1, findings=("Mass",)),
    case("b", sex="M", view="PA", age=64.9),
    case("c", sex="F", view="PA", age=17.0, label=1, findings=("Effusion",), boxes=(Box(0, 0, 1, 1, "Nodule"),)),
    case("d", label=1),
    case("e", sex="M", view="AP", age=89.0, group="x,y=z"),
]


def test_keys_list_what_occurs_in_clinical_order_and_unknown_last() -> None:
    assert cohort_keys(CASES) == ["all", "sex=M", "sex=F", "sex=unknown", "view=PA", "view=AP", "view=unknown"]
    assert cohort_keys(CASES, [("age",)])[1:] == ["age=0-17", "age=40-64", "age=65+", "age=unknown"]
    assert cohort_keys(CASES, [("finding",)])[1:] == [
        "finding=Effusion",
        "finding=Mass",
        "finding=Nodule",
        "finding=unknown",
    ]


def test_axes_of_a_key_stand_in_a_fixed_order_whatever_the_request() -> None:
    assert "sex=F,view=AP,age=40-64" in cohort_keys(CASES, [("age", "view", "sex")])
    assert format_key({"age": "40-64", "sex": "F"}) == "sex=F,age=40-64"


@pytest.mark.parametrize("value", ["x,y=z", "100%", "%2C", "a=b,c=d%3D"])
def test_a_key_is_parsed_to_what_it_was_made_of(value: str) -> None:
    conditions = {"sex": "unknown", "group": value}
    assert parse_key(format_key(conditions)) == conditions


@pytest.mark.parametrize(
    ("key", "names"),
    [
        ("all", "abcde"),
        ("sex=F", "ac"),
        ("sex=unknown", "d"),
        ("sex=F,view=AP,age=40-64", "a"),
        ("age=40-64", "ab"),
        ("group=x%2Cy%3Dz", "e"),
        ("finding=Mass", "abe"),
        ("finding=Nodule", "bce"),
        ("sex=F,finding=Mass", "a"),
        ("sex=F,age=65+", ""),
    ],
)
def test_selection(key: str, names: str) -> None:
    assert "".join(c.case_id for c, inside in zip(CASES, select(CASES, key), strict=True) if inside) == names


@pytest.mark.parametrize("key", ["sex", "sex=F,sex=M", "=red", "sex=F,", ""])
def test_a_malformed_key_is_refused(key: str) -> None:
    with pytest.raises(ConfigError, match="malformed"):
        parse_key(key)


def test_an_axis_that_does_not_exist_is_refused_and_the_axes_are_listed() -> None:
    with pytest.raises(ConfigError, match="sex, view, age, finding, group"):
        cohort_keys(CASES, [("sex", "colour")])


def test_columns_of_a_table_are_axes_too_and_a_typo_is_answered_with_the_nearest() -> None:
    cases = [case("a", columns=(("scanner", "B"),)), case("b", columns=(("scanner", "A=1"),)), case("c")]
    assert cohort_keys(cases, [("scanner",)]) == ["all", "scanner=A%3D1", "scanner=B", "scanner=unknown"]
    assert select(cases, "scanner=A%3D1").tolist() == [False, True, False]
    assert parse_key("sex=F,scanner=A%3D1") == {"sex": "F", "scanner": "A=1"}
    assert cohort_name("sex=F,scanner=A%3D1") == "women, scanner A=1"
    with pytest.raises(ConfigError, match="sex, view, age, finding, group, scanner; did you mean scanner"):
        cohort_keys(cases, [("scaner",)])


def test_a_column_of_measurements_is_no_axis() -> None:
    cases = [case(str(i), columns=(("dose", str(i)),)) for i in range(51)]
    with pytest.raises(ConfigError, match="'dose' has 51 different values"):
        cohort_keys(cases, [("dose",)])


def test_axes_on_the_command_line() -> None:
    assert parse_axes("sex, view,sex:age,sex") == [("sex",), ("view",), ("sex", "age")]
    for text in ("sex:", "sex:sex", ":"):
        with pytest.raises(ConfigError, match="malformed"):
            parse_axes(text)
