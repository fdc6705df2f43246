"""The one entrance to the data sources."""

from __future__ import annotations

from pathlib import Path

import pytest

from vitad_med.data.chestxray14 import read_chestxray14
from vitad_med.data.registry import read_cases
from vitad_med.errors import ConfigError, DataError


def test_it_reads_what_the_reader_reads(nih_mini: Path) -> None:
    women = read_cases("nih_chestxray14", nih_mini, "test", sex="F", view=None, category=None)
    assert women == read_chestxray14(nih_mini, section="test", sex="F")
    assert {case.sex for case in women} == {"F"}


def test_an_unknown_source_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'nih_chestxray14'"):
        read_cases("nih_chestxray", tmp_path, "test")
    with pytest.raises(ConfigError, match="use one of nih_chestxray14, mvtec"):
        read_cases("qqq", tmp_path, "test")


def test_an_option_of_another_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'sex' does not apply to data 'mvtec'"):
        read_cases("mvtec", tmp_path, "test", sex="F")


def test_a_missing_folder_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        read_cases("mvtec", tmp_path / "absent", "test")
