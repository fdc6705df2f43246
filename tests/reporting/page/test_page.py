"""The page as text: same bytes, nothing that leaves it or runs in it, and every part of a report optional."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from vitad_med.errors import DataError
from vitad_med.reporting.page import Row, Thumbnail, render_page, write_page
from vitad_med.reporting.page.shell import TEMPLATES

VOID = {"meta", "input", "img", "br", "link"}
ATTACK = '</script><script>alert(1)</script><img src=x onerror="alert(2)">'


class Structure(HTMLParser):
    """Open tags, ids and attributes of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.attributes: set[str] = set()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.attributes |= {name for name, _ in attrs}
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        opened = self.open.pop()
        assert opened == tag, f"<{opened}> is closed by </{tag}>"


@pytest.fixture
def page(report: dict[str, Any], rows: list[Row], thumbnails: list[Thumbnail]) -> str:
    return render_page(report, rows, thumbnails)


def test_the_same_input_gives_the_same_bytes(
    page: str, report: dict[str, Any], rows: list[Row], thumbnails: list[Thumbnail]
) -> None:
    assert render_page(copy.deepcopy(report), list(rows), list(thumbnails)) == page


def test_another_process_with_another_hash_seed_gives_the_same_bytes(page: str, repo_root: Path) -> None:
    program = (
        f"import sys, hashlib; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from pathlib import Path; import sample; from vitad_med.reporting.page import render_page\n"
        f"cases = sample.sample_cases(Path({str(repo_root / 'examples' / 'nih_mini')!r}))\n"
        "rows = sample.sample_rows(cases)\n"
        "page = render_page(sample.sample_report(), rows, sample.sample_thumbnails(cases, rows, 8))\n"
        "print(hashlib.sha256(page.encode()).hexdigest())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "77", "PYTHONPATH": str(repo_root)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == hashlib.sha256(page.encode()).hexdigest()


def test_a_page_is_closed_and_its_ids_are_unique(page: str) -> None:
    structure = Structure(page)
    assert structure.open == []
    assert sorted(set(structure.ids)) == sorted(structure.ids)


def test_every_reference_inside_the_page_has_its_target(page: str) -> None:
    structure = Structure(page)
    wanted = set(re.findall(r'url\(#([\w-]+)\)|href="#([\w-]+)"', page))
    names = {name for pair in wanted for name in pair if name}
    for _, attributes in structure.elements:
        names |= set((attributes.get("aria-labelledby") or "").split())
    assert names - set(structure.ids) == set()
    assert len(names) > 20


def test_nothing_names_a_network_address(page: str) -> None:
    assert re.findall(r"https?:|//[a-z]+\.|@import|url\((?!#)", page) == []


def test_there_is_no_inline_style_and_no_handler_in_an_attribute(page: str) -> None:
    attributes = Structure(page).attributes
    assert "style" not in attributes
    assert {name for name in attributes if name.startswith("on")} == set()


def test_the_policy_names_the_style_sheet_and_the_script_by_their_hashes(page: str) -> None:
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy[1].replace("&#39;", "'").split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    for rule, tag in (("style-src", "style"), ("script-src", "script")):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.S)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"


def test_charts_are_named_described_and_follow_the_colours_of_the_page(page: str) -> None:
    charts = re.findall(r'<svg class="chart".*?</svg>', page, re.S)
    assert len(charts) == 8
    for chart in charts:
        assert re.search(r"<title [^>]*>[^<]+</title><desc [^>]*>[^<]{20,}</desc>", chart)
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.S)
    drawn = "\n".join(re.findall(r"^\.m\d+ \{.*\}$", style, re.M))
    assert drawn.count("var(--") > 20
    # No sentinel and no fixed colour is left: a fixed one would vanish in the dark.
    assert re.findall(r"#[0-9a-fA-F]{3,8}\b|\b(?:black|white)\b", drawn) == []


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(theme: str) -> None:
    declared = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", (TEMPLATES / f"{theme}.css").read_text()))
    text = ["ink", "muted", "accent", "warm", "good", "bad", "open", *(f"series-{number}" for number in range(1, 6))]
    for name in text:
        for behind in ("surface", "sunken") if name in ("ink", "muted") else ("surface",):
            light, dark = sorted((luminance(declared[name]), luminance(declared[behind])), reverse=True)
            # WCAG AA: 4.5 for text.
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (theme, name, behind)


def test_text_of_a_report_never_becomes_markup(report: dict[str, Any], rows: list[Row]) -> None:
    report["cohorts"]["sex=M"]["name"] = ATTACK
    report["cohorts"]["all"]["verdict"]["sentence"] = ATTACK
    report["method"]["name"] = report["data"]["name"] = ATTACK
    report["flow"]["excluded"][0]["reason"] = ATTACK
    report["effects"]["box_area"][0]["group"] = ATTACK
    report["gaps"][0]["levels"][0]["name"] = ATTACK
    report["gaps"][3]["reason"] = ATTACK
    report["drift"]["rows"][0]["quantity"] = ATTACK
    report["notes"] = [ATTACK]
    first = rows[0]
    poisoned = Row(ATTACK, ATTACK, first.score, findings=(ATTACK,), columns=((ATTACK, ATTACK),), localized=True)
    structure = Structure(render_page(report, [poisoned]))
    assert [tag for tag, _ in structure.elements].count("script") == 2
    assert "img" not in {tag for tag, _ in structure.elements}
    assert "onerror" not in structure.attributes


def test_the_worklist_is_whole_json(page: str, rows: list[Row]) -> None:
    (text,) = re.findall(r'<script type="application/json" id="worklist-data">(.*?)</script>', page, re.S)
    data = json.loads(text)
    columns = {column["key"]: column for column in data["columns"]}
    assert data["count"] == len(rows)
    assert columns["image"]["values"] == [row.image for row in rows]
    words = columns["findings"]
    assert [words["words"][number] for number in words["values"]] == [", ".join(row.findings) for row in rows]
    assert columns["pixel_auroc"]["values"] == [row.pixel_auroc for row in rows]
    assert len(data["thumbnails"]) == 8


def test_without_javascript_the_first_fifty_rows_are_a_table(page: str, rows: list[Row]) -> None:
    (table,) = re.findall(r'<table id="images".*?</table>', page, re.S)
    shown = re.findall(r'<td class="text image">([^<]*)</td>', table)
    assert shown == [row.image for row in rows[:50]]


def test_suppressed_counts_say_so(report: dict[str, Any], rows: list[Row]) -> None:
    report["data"]["public"] = False
    report["cohorts"]["sex=F"] |= {"n_images": None, "n_patients": None, "n_normal": None, "n_abnormal": None}
    page = render_page(report, rows)
    (table,) = re.findall(
        r"<caption>Normal or abnormal: the image score in every cohort</caption>.*?</table>", page, re.S
    )
    women = table[table.index('<th scope="row">women') :].split("</tr>")[0]
    assert women.count("<td>withheld</td>") == 4
    assert "withheld patients" in re.findall(r'<figure class="flow">.*?</figure>', page, re.S)[0]


def test_pictures_of_a_site_carry_a_warning(
    report: dict[str, Any], rows: list[Row], thumbnails: list[Thumbnail]
) -> None:
    warning = "text burned into them is not removed"
    assert warning not in render_page(report, rows, thumbnails)
    report["data"]["public"] = False
    assert warning in render_page(report, rows, thumbnails)
    assert warning not in render_page(report, rows)


def test_cohorts_whose_curves_are_not_drawn_are_owned_up_to(report: dict[str, Any], rows: list[Row]) -> None:
    roc = report["curves"]["roc"]
    for number in range(6):
        roc[f"group={number}"] = roc["sex=M"]
    assert "Curves of 7 more cohorts are in report.json." in render_page(report, rows)


def test_a_table_of_scores_alone_makes_a_page(sample: ModuleType, rows: list[Row]) -> None:
    page = render_page(sample.bare_report(), rows[:3])
    assert Structure(page).open == []
    assert "Not measured" in page
    assert "4 normal patients cannot reach a false-positive rate of .1; 9 can" in page
    for absent in ('id="drift"', 'id="effects"', 'class="chart"', "None", "nan"):
        assert absent not in re.sub(r"<(script|style).*?</\1>", "", page, flags=re.S)


OPTIONAL = ("gaps", "operating_point", "curves", "distributions", "effects", "drift", "notes", "created")


@pytest.mark.parametrize("key", OPTIONAL)
def test_every_optional_part_may_be_absent(report: dict[str, Any], rows: list[Row], key: str) -> None:
    del report[key]
    assert Structure(render_page(report, rows[:2])).open == []


def test_all_optional_parts_may_be_null(report: dict[str, Any], rows: list[Row]) -> None:
    assert Structure(render_page({**report, **dict.fromkeys(OPTIONAL)}, rows[:2])).open == []


def test_one_cohort_and_no_rows_make_a_page(report: dict[str, Any]) -> None:
    report["cohorts"] = {"all": report["cohorts"]["all"]}
    report["gaps"] = []
    page = render_page(report, [])
    assert Structure(page).open == []
    assert "Not compared" in page


def test_a_report_of_another_schema_is_refused(report: dict[str, Any], rows: list[Row]) -> None:
    report["schema"] = "vitad_med/report/2"
    with pytest.raises(DataError, match=r"report\.json has schema 'vitad_med/report/2'"):
        render_page(report, rows)


@pytest.mark.parametrize(("key", "named"), [("settings", "'settings'"), ("cohorts", "'cohorts'")])
def test_a_report_that_lacks_an_object_is_refused(
    report: dict[str, Any], rows: list[Row], key: str, named: str
) -> None:
    del report[key]
    with pytest.raises(DataError, match=named):
        render_page(report, rows)


def test_a_picture_without_a_row_is_refused(
    report: dict[str, Any], rows: list[Row], thumbnails: list[Thumbnail]
) -> None:
    with pytest.raises(DataError, match="thumbnail 3 has no row"):
        render_page(report, rows[:3], thumbnails)


def test_pictures_beside_the_page_are_files_and_the_policy_lets_them_in(
    tmp_path: Path, report: dict[str, Any], rows: list[Row], thumbnails: list[Thumbnail]
) -> None:
    write_page(tmp_path / "report.html", report, rows, thumbnails, side_folder=True)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "base64" not in page
    assert "img-src data: &#39;self&#39; file:" in page
    names = sorted(path.name for path in (tmp_path / "thumbnails").iterdir())
    assert names == [f"{index:05d}.{kind}" for index in range(8) for kind in ("jpg", "png")]
    assert (tmp_path / "thumbnails" / "00000.jpg").read_bytes() == thumbnails[0].xray
