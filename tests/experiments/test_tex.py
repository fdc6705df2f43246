"""``table.tex`` read as LaTeX reads it: commands, braces, environments, columns. No LaTeX is needed for that."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vitad_med.experiments.tables import Grid, Tables
from vitad_med.experiments.writing import tex

# With \symbol, whose number is an argument, these are all in LaTeX's own encoding; \textquotedbl, for one, is not.
TEXT_COMMANDS = {
    *("textbackslash", "textasciitilde", "textasciicircum", "textless", "textgreater", "textbar", "symbol"),
    *("&", "%", "$", "#", "_", "{", "}"),
}
LAYOUT_COMMANDS = {
    *("begin", "end", "centering", "caption", "toprule", "midrule", "bottomrule", "multicolumn", "cmidrule"),
    *("par", "noindent", "smallskip", "footnotesize", "normalsize", "\\"),
}
_TOKEN = re.compile(r"\\([A-Za-z]+|.)|(.)", re.DOTALL)


def check_tex(text: str) -> list[list[int]]:
    """Number of cells of each row of each tabular; fails where LaTeX would stop or print something else."""
    environments: list[str] = []
    braces = 0
    rows: list[list[int]] = []
    columns, cells = 0, 1
    text = re.sub(r"^% needs .*\n", "", text)
    position = 0
    while position < len(text):
        token = _TOKEN.match(text, position)
        assert token is not None
        rest = text[token.end() :]
        position = token.end()
        command, sign = token[1], token[2]
        if sign == "$":
            assert rest.startswith("\\pm$"), f"mathematics other than \\pm: ${rest[:20]}"
            position += len("\\pm$")
        elif sign is not None:
            assert sign not in '%#~^_"<>|', f"bare {sign!r}: {rest[:20]!r}"
            assert sign.isprintable() or sign == "\n"
            braces += {"{": 1, "}": -1}.get(sign, 0)
            assert braces >= 0
            if sign == "&":
                assert environments[-1:] == ["tabular"]
                cells += 1
        elif command in ("begin", "end"):
            found = re.match(r"\{(table|tabular)\}", rest)
            assert found is not None
            position += found.end()
            if command == "end":
                assert environments
                assert environments.pop() == found[1]
                assert braces == 0
            else:
                environments.append(found[1])
            if found[1] == "tabular" and command == "begin":
                specification = re.match(r"\{(lr*)\}", text[position:])
                assert specification is not None
                position += specification.end()
                columns, cells = len(specification[1]), 1
                rows.append([])
        elif command == "\\":
            # An option or a star may follow a line break, and LaTeX looks for it on the next line too.
            assert not re.match(r"\s*[\[*]", rest), rest[:20]
            assert braces == 0
            if environments:
                assert environments[-1] == "tabular"
                assert cells == columns, f"{cells} cells in {columns} columns"
                rows[-1].append(cells)
                cells = 1
        elif command == "multicolumn":
            found = re.match(r"\{(\d+)\}\{c\}(?=\{)", rest)
            assert found is not None
            position += found.end()
            cells += int(found[1]) - 1
        elif command == "cmidrule":
            found = re.match(r"\(lr\)\{(\d+)-(\d+)\}\n", rest)
            assert found is not None
            assert 2 <= int(found[1]) <= int(found[2]) <= columns
            position += found.end()
        elif command == "symbol":
            assert re.match(r"\{\d+\}", rest)
        else:
            assert command in TEXT_COMMANDS | LAYOUT_COMMANDS, f"\\{command}"
            if command.endswith("rule"):
                assert environments[-1:] == ["tabular"]
                assert not re.match(r"\s*\[", rest)  # its thickness
            elif command.isalpha():
                # A letter that follows would belong to the name of the command.
                assert not rest[:1].isalpha()
    assert not environments
    assert braces == 0
    return rows


TEXTS = st.text(st.sampled_from("abc 1\\&%$#_{}~^<>|\"[]*'`-=\n\t\u00b1"), max_size=12)


@given(st.lists(TEXTS, min_size=8, max_size=8))
@example(["[x]", "*x", "\\", "a\nb", '"', "", "$x$", "%"])
@example(["\\\\", "[", "{", "}", "\\\\[2pt]", "*", "\\begin{table}", "\n\n"])
def test_no_text_breaks_the_file(texts: list[str]) -> None:
    title, question, label, cell, head, group, note, footnote = texts
    grids = [
        Grid(
            title, [(group or "g", 2), ("", 1)], [head, cell, "x"], [(label, [cell, "", head]), (cell, ["1"] * 3)], note
        ),
        Grid(title, [("", 1)], [head], [(label, [cell])], note),
    ]
    assert check_tex(tex(Tables(title, question, grids, [note, label], [footnote]))) == [[4] * 4, [2] * 2]


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("a & 1 \\\\", "a & 1 & 2 \\\\"),
        ("a & 1 \\\\", "a 1 \\\\"),
        ("a & 1 \\\\", "a & 1_2 \\\\"),
        ("a & 1 \\\\", "a & 50% \\\\"),
        ("a & 1 \\\\", "a & {1 \\\\"),
        ("a & 1 \\\\", "a & $x$ \\\\"),
        ("a & 1 \\\\", "a & \\textquotedbl{} \\\\"),
        ("a & 1 \\\\", "[a] & 1 \\\\"),
        ("\\end{tabular}", ""),
        ("\\begin{table}", ""),
        ("{lr}", "{lrr}"),
        ("\\midrule\n", "\\midrule\n[1pt]"),
    ],
)
def test_the_reader_finds_faults(right: str, wrong: str) -> None:
    good = tex(Tables("T", "Q", [Grid("G", [("", 1)], ["x"], [("a", ["1"])], "n = 1 seed.")], ["note"], []))
    check_tex(good)
    assert right in good
    with pytest.raises(AssertionError):
        check_tex(good.replace(right, wrong))
