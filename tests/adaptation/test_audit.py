"""The audit log survives crashes, full disks and numbers that JSON lacks."""

from __future__ import annotations

import json
import resource
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import torch

from vitad_med.adaptation.audit import SCHEMA, AuditLog, Decision, batch_digest, read_audit
from vitad_med.adaptation.guard import GuardReading
from vitad_med.errors import DataError, StorageError


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    return AuditLog(tmp_path / "run" / "audit.jsonl")


def step(
    log: AuditLog, number: int, loss: float = 0.5, guard: GuardReading | None = None, decision: Decision = "kept"
) -> None:
    log.step(
        number,
        batch="0" * 16,
        images=16,
        pseudo_classes=(15, 1),
        loss=loss,
        gradient_norm=1.5,
        decision=decision,
        guard=guard,
    )


def test_lines_come_back_as_they_were_written(log: AuditLog) -> None:
    log.write("start", method="alignment", guard={"level": 0.99})
    step(log, 1, guard=GuardReading(0.9, 0.2, None))
    step(log, 2, guard=GuardReading(0.5, 0.2, "guard AUROC 0.5 is below 0.8"), decision="rolled_back")
    step(log, 3)
    log.write("finish", kept=np.int64(2), mean=torch.tensor(0.25))
    start, first, second, third, finish = read_audit(log.path)
    assert (start["event"], start["schema"], start["guard"]) == ("start", SCHEMA, {"level": 0.99})
    assert {key: value for key, value in first.items() if key != "time"} == {
        "event": "step",
        "step": 1,
        "batch": "0" * 16,
        "images": 16,
        "pseudo_classes": {"normal": 15, "anomalous": 1},
        "loss": 0.5,
        "gradient_norm": 1.5,
        "guard": {"auroc": 0.9, "mean_score": 0.2},
        "decision": "kept",
        "reason": None,
    }
    assert (second["decision"], second["reason"]) == ("rolled_back", "guard AUROC 0.5 is below 0.8")
    assert third["guard"] is None
    assert (finish["kept"], finish["mean"]) == (2, 0.25)
    written = datetime.fromisoformat(start["time"])
    assert abs(datetime.now(UTC) - written) < timedelta(minutes=1)
    assert written.tzinfo is not None
    assert start["time"].endswith("Z")


def test_numbers_that_are_not_finite_become_null_with_a_reason(log: AuditLog) -> None:
    step(log, 1, loss=float("nan"), guard=GuardReading(float("nan"), float("-inf"), "2 of 4 scores are not finite"))
    log.write("finish", values=[1.0, float("inf")])
    text = log.path.read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    line, finish = read_audit(log.path)
    assert (line["loss"], line["guard"]) == (None, {"auroc": None, "mean_score": None})
    assert line["reason"] == ("2 of 4 scores are not finite; loss is nan; guard.auroc is nan; guard.mean_score is -inf")
    assert (finish["values"], finish["reason"]) == ([1.0, None], "values[1] is inf")


@pytest.mark.parametrize("cut", [1, 2, 30, 100])
def test_a_half_line_of_a_crash_spoils_no_other(log: AuditLog, cut: int) -> None:
    for number in (1, 2, 3):
        step(log, number)
    whole = log.path.read_bytes()
    log.path.write_bytes(whole[:-cut])
    log.write("resume", step=2)
    lines = read_audit(log.path)
    assert [line["event"] for line in lines] == ["step", "step", "step" if cut == 1 else "damaged", "resume"]
    assert [line["step"] for line in lines if line["event"] == "step"] == [1, 2, 3][: 2 + (cut == 1)]
    if cut > 1:
        assert lines[2] == {"event": "damaged", "line": 3}


def test_the_reader_passes_over_damage(log: AuditLog) -> None:
    step(log, 1)
    with log.path.open("ab") as file:
        file.write(b"\0\0\0\n\xff\xfe\n[1]\n{}\n" + b"[" * 100_000 + b'\n{"event": "st')
    lines = read_audit(log.path)
    assert [line["event"] for line in lines] == ["step"] + ["damaged"] * 6
    assert [line["line"] for line in lines[1:]] == [2, 3, 4, 5, 6, 7]
    log.path.write_bytes(b"")
    assert read_audit(log.path) == []
    with pytest.raises(DataError, match=r"none.jsonl' cannot be read: No such file"):
        read_audit(log.path.with_name("none.jsonl"))


def test_a_second_log_appends(log: AuditLog) -> None:
    log.write("start")
    former = log.path.read_bytes()
    AuditLog(log.path).write("resume")
    assert log.path.read_bytes().startswith(former)
    assert [json.loads(line)["event"] for line in log.path.read_text().splitlines()] == ["start", "resume"]


def test_a_disk_that_fills_up_keeps_the_whole_lines_only(log: AuditLog) -> None:
    step(log, 1)
    former = log.path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(former) + 40, limits[1]))
    try:
        with pytest.raises(StorageError, match=r"audit.jsonl': File too large; the lines written before are intact"):
            step(log, 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert log.path.read_bytes() == former
    step(log, 2)
    assert [line["step"] for line in read_audit(log.path)] == [1, 2]


def test_a_file_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="choose another output_dir"):
        AuditLog(tmp_path / "file" / "audit.jsonl").write("start")
    with pytest.raises(StorageError, match="No space left"):
        AuditLog("/dev/full").write("start")


def test_a_batch_is_known_by_its_pixels() -> None:
    images = torch.rand(2, 1, 4, 4)
    digest = batch_digest(images)
    assert len(digest) == 16
    assert int(digest, 16) >= 0
    assert batch_digest(images.clone().transpose(2, 3).contiguous().transpose(2, 3)) == digest
    other = images.clone()
    other[1, 0, 3, 3] += 1e-6
    changed = [other, images.flip(0), images.double(), images.reshape(2, 1, 2, 8), images[:1]]
    assert len({digest, *map(batch_digest, changed)}) == 6
