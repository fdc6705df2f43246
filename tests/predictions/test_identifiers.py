"""Keyed names, and cells that a spreadsheet does not run and that read back as they were."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vitad_med.errors import ConfigError
from vitad_med.predictions.identifiers import plain_cell, read_identifier_key, safe_cell


def test_a_secret_that_can_be_guessed_is_refused(tmp_path: Path) -> None:
    (tmp_path / "site.key").write_text("1234\n")
    with pytest.raises(ConfigError, match=r"site\.key' holds 4 bytes.*openssl"):
        read_identifier_key(tmp_path / "site.key")
    (tmp_path / "site.key").write_text("0123456789abcdef\n")
    assert read_identifier_key(tmp_path / "site.key") == b"0123456789abcdef"


@given(st.text("'=+-@\uff1d ab1", max_size=6))
@example("=1+1")
@example("'=1+1")
@example("''-1")
@example("'quoted'")
@example("'")
def test_a_cell_reads_back_as_it_was(text: str) -> None:
    written = safe_cell(text)
    assert plain_cell(written) == text
    assert not written.lstrip().startswith(("=", "+", "-", "@", "\uff1d"))


def test_an_apostrophe_that_nobody_added_stays() -> None:
    assert plain_cell("'s Gravenhage") == "'s Gravenhage"
