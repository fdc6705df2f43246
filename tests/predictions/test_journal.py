"""run.json: what it says, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vitad_med.digests import config_digest
from vitad_med.errors import DataError
from vitad_med.predictions.backend import torch_backend
from vitad_med.predictions.journal import SCHEMA, Journal, journal_text, read_journal, utc_now, with_digests


def write(path: Path, **keys: Any) -> Path:
    path.write_text(json.dumps({"schema": SCHEMA, **keys}))
    return path


def test_it_reads_back_whole(tmp_path: Path) -> None:
    journal = with_digests(
        Journal(
            method="PaDiM",
            source="nih_chestxray14",
            public=True,
            identifiers="clear",
            created=utc_now(),
            model_digest="m",
            pipeline={"image_size": 224, "amp": False, "layers": [1, 2]},
            backend=torch_backend("cpu", amp=False),
            data_digest="d",
            score_rule="maximum of the map",
            eval_size=224,
            seed=0,
            software="x 1",
        )
    )
    assert journal.backend == {"name": "torch", "device": "cpu", "precision": "float32"}
    (tmp_path / "run.json").write_text(journal_text(journal))
    assert read_journal(tmp_path / "run.json") == journal


def test_the_backend_tells_device_and_number_format() -> None:
    assert torch_backend("cuda:1", amp=False) == {"name": "torch", "device": "cuda", "precision": "float32"}
    assert torch_backend("mps", amp=True) == {"name": "torch", "device": "mps", "precision": "float16"}


def test_a_short_journal_is_enough_and_digests_follow(tmp_path: Path) -> None:
    found = read_journal(write(tmp_path / "run.json", method="ours", pipeline={"a": 1}, more="ignored"))
    assert found == Journal(method="ours", pipeline={"a": 1}, pipeline_digest=config_digest({"a": 1}))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"schema": "other/1"}, r"key 'schema' is 'other/1', but must be 'vitad_med/run/1'"),
        ({"method": 3}, r"key 'method' is 3, but must be text"),
        ({"public": "yes"}, r"key 'public' is 'yes', but must be true or false"),
        ({"identifiers": "plain"}, r"must be 'clear' or 'hashed'"),
        ({"pipeline": []}, r"key 'pipeline' is \[\], but must be an object"),
        ({"eval_size": 0}, r"key 'eval_size' is 0, but must be a whole number of at least 1"),
        ({"eval_size": True}, r"must be a whole number"),
        ({"seed": -1}, r"key 'seed' is -1, but must be a whole number of at least 0"),
        ({"created": "25.11.2026"}, r"must be a UTC time such as '2026-11-25T13:00:00Z'"),
        ({"created": 5}, r"must be a UTC time"),
        ({"pipeline": {"a": 1}, "pipeline_digest": "0"}, r"'pipeline_digest' is not the digest of 'pipeline'"),
        ({"backend": {"a": 1}, "backend_digest": "0"}, r"'backend_digest' is not the digest of 'backend'"),
    ],
)
def test_a_wrong_key_is_named(tmp_path: Path, keys: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read_journal(write(tmp_path / "run.json", **keys))
    assert "run.json" in str(caught.value)


@pytest.mark.parametrize("content", ["", "[1]", "{", "[" * 100_000])
def test_what_is_no_object_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "run.json").write_text(content)
    with pytest.raises(DataError, match=r"run\.json"):
        read_journal(tmp_path / "run.json")
