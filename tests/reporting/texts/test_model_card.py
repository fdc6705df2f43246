"""The model card: what it says comes from the report, what is unknown is said, and its tables render."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from vitad_med.bundles.metadata import read_metadata
from vitad_med.reporting.document.wording import threshold_text
from vitad_med.reporting.texts.markdown import escape
from vitad_med.reporting.texts.model_card import model_card, write_model_card

Samples = dict[str, Callable[[], dict[str, Any]]]
SECTIONS = [
    "Model details",
    "Intended use",
    "Factors",
    "Metrics",
    "Evaluation data",
    "Training data",
    "Quantitative analyses",
    "Ethical considerations",
    "Caveats and recommendations",
]


@pytest.fixture(scope="session")
def metadata(repo_root: Path) -> dict[str, Any]:
    return read_metadata(repo_root / "bundles" / "attn_synth")


def html(text: str) -> str:
    return MarkdownIt("commonmark", {"html": False}).enable("table").render(text)


def table_rows(text: str) -> list[list[str]]:
    """Cells of every table row, as a Markdown reader shows them."""
    rows = re.findall(r"<tr>(.*?)</tr>", html(text), re.DOTALL)
    return [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, re.DOTALL) for row in rows]


@pytest.mark.parametrize("kind", ["full", "unlocalized", "suppressed"])
@pytest.mark.parametrize("with_metadata", [True, False])
def test_sections_and_tables_render(samples: Samples, metadata: dict, kind: str, with_metadata: bool) -> None:
    text = model_card(samples[kind](), metadata if with_metadata else None)
    shown = html(text)
    assert re.findall("<h2>(.*?)</h2>", shown) == SECTIONS
    # A table that does not parse stays a paragraph with its pipes.
    assert not re.findall(r"<p>[^<]*\|", shown)
    assert "None" not in text
    assert "\n\n\n" not in text
    assert text.endswith("\n")


def test_figures_stand_in_their_rows(samples: Samples, metadata: dict) -> None:
    rows = {cells[0]: cells[1:] for cells in table_rows(model_card(samples["full"](), metadata)) if len(cells) == 7}
    assert rows["all images"] == [
        ".532 [.502-.562]", "brightness, difference -.043 [-.073 to -.013]", ".641 [.611-.671]",
        ".628 [.598-.658]", ".545 [.515-.575]", "no",
    ]  # fmt: skip
    assert rows["women, view AP"][0] == ".482 [.452-.512]"
    assert rows["scanner A|B"][-1] == "cannot tell"


def test_crossed_cohorts_are_told_apart(samples: Samples) -> None:
    text = model_card(samples["full"]())
    by_one, crossed = text.split("### By attributes crossed")
    assert "women, view AP" not in by_one.split("### By one attribute")[1]
    assert "women, view AP" in crossed
    report = samples["full"]()
    for cohorts in (report["cohorts"], report["operating_point"]["cohorts"]):
        del cohorts["sex=F,view=AP"]
    assert "No crossed cohorts were evaluated." in model_card(report)


def test_metadata_are_told_and_never_invented(samples: Samples, metadata: dict) -> None:
    text = model_card(samples["full"](), metadata)
    assert "not a medical device and not for clinical use" in text
    assert "Bozorgtabar" in text
    assert "418 patients" in text.split("## Training data")[1].split("##")[0]
    bare = model_card(samples["unlocalized"]())
    for section in ("Intended use", "Training data", "Ethical considerations"):
        assert bare.split(f"## {section}\n")[1].strip().startswith("not recorded")
    assert "| Weights, SHA-256 | not recorded |" in bare
    assert "# Model card: not recorded" in bare


def test_the_threshold_is_explained(samples: Samples) -> None:
    text = threshold_text(samples["full"]())
    assert "1.23457e-05, set on normal images only for a false-positive rate of 10 %" in text
    assert "305 images of 305 patients" in text
    assert "with 95 % confidence at most 13.1 %" in text
    assert "9 calibration patients cannot reach 0.05" in threshold_text(samples["suppressed"]())
    assert "none was set" in threshold_text(samples["unlocalized"]())


def test_caveats_follow_from_the_figures(samples: Samples) -> None:
    def caveats(report: dict[str, Any]) -> str:
        return model_card(report).split("## Caveats")[1]

    report = samples["full"]()
    assert "not shown that the map localizes" in caveats(report)
    assert "may not come from the images" not in caveats(report)
    assert "41 images have no known age." in caveats(report)
    report["cohorts"]["all"]["verdict"]["answer"] = "yes"
    report["cohorts"]["all"]["metadata_difference"]["low"] = -0.01
    report["drift"] = None
    assert "not shown that the map localizes" not in caveats(report)
    assert "may not come from the images" in caveats(report)
    assert "Drift was not examined" in caveats(report)
    assert "Too small to be scored: scanner A\\|B." in caveats(samples["suppressed"]())


def test_suppressed_counts_are_not_told(samples: Samples) -> None:
    rows = [cells for cells in table_rows(model_card(samples["suppressed"]())) if cells[0] == "scanner A|B"]
    assert rows[0] == ["scanner A|B", *["withheld"] * 5]
    assert "| images of a withheld number of patients |" in model_card(samples["suppressed"]())


def test_text_of_the_data_adds_no_markup(samples: Samples) -> None:
    report = samples["full"]()
    report["cohorts"]["sex=M"]["name"] = "a|b <script>alert(1)</script> **x** [y](http://z) `c`\n# h _i_ &copy; $e$"
    shown = html(model_card(report))
    assert "<script" not in shown
    assert "<strong>x" not in shown
    assert "<a " not in shown
    assert "<em>i" not in shown
    cell = next(cells[0] for cells in table_rows(model_card(report)) if cells[0].startswith("a|b"))
    assert cell == ("a|b &lt;script&gt;alert(1)&lt;/script&gt; **x** [y](http://z) `c` # h _i_ &amp;copy; $e$")
    assert escape("attn_synth") == "attn_synth"


def test_the_same_report_gives_the_same_bytes(samples: Samples, metadata: dict, tmp_path: Path) -> None:
    write_model_card(tmp_path / "a.md", samples["full"](), metadata)
    write_model_card(tmp_path / "b.md", samples["full"](), json.loads(json.dumps(metadata)))
    assert (tmp_path / "a.md").read_bytes() == (tmp_path / "b.md").read_bytes()
