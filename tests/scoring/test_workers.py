"""Worker processes: a task that kills or stalls its process costs that task."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from vitad_med.errors import DataError
from vitad_med.scoring.workers import WorkerLost, Workers


def double(number: int) -> tuple[int, int]:
    return 2 * number, os.getpid()


def die(_: int) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def stall(_: int) -> None:
    time.sleep(60)


def refuse(number: int) -> None:
    raise DataError(f"not {number}")


class Odd(Exception):
    """Travels, and cannot be made again at the other end."""

    def __init__(self, one: int, two: int) -> None:
        super().__init__(one)


def odd(_: int) -> None:
    raise Odd(1, 2)


def unpicklable(_: int) -> threading.Lock:
    return threading.Lock()


def test_tasks_run_elsewhere_and_results_come_back() -> None:
    with Workers(2) as workers:
        answers = [future.result(60) for future in [workers.submit(double, n) for n in range(20)]]
    assert [value for value, _ in answers] == [2 * n for n in range(20)]
    assert os.getpid() not in {process for _, process in answers}
    assert len({process for _, process in answers}) <= 2


def test_errors_travel_and_cost_nothing() -> None:
    with Workers(1) as workers:
        futures = [workers.submit(refuse, 7), workers.submit(unpicklable, 0), workers.submit(double, 1)]
        with pytest.raises(DataError, match="not 7"):
            futures[0].result(60)
        with pytest.raises(RuntimeError, match="pickle"):
            futures[1].result(60)
        assert futures[2].result(60)[0] == 2
        with pytest.raises(RuntimeError, match="cannot be read"):
            workers.submit(odd, 0).result(60)
        assert workers.submit(double, 2).result(60)[0] == 4


def test_a_process_that_ends_costs_its_own_task() -> None:
    with Workers(2) as workers:
        futures = [workers.submit(die if n == 3 else double, n) for n in range(8)]
        for number, future in enumerate(futures):
            if number == 3:
                with pytest.raises(WorkerLost, match="ended"):
                    future.result(60)
            else:
                assert future.result(60)[0] == 2 * number


def test_a_task_that_stalls_is_stopped() -> None:
    with Workers(1, timeout=5.0) as workers:
        workers.submit(double, 0).result(60)  # the process has started
        stalled, after = workers.submit(stall, 0), workers.submit(double, 4)
        with pytest.raises(WorkerLost, match="longer than 5 s"):
            stalled.result(40)
        assert after.result(60)[0] == 8


def test_without_processes_tasks_run_here() -> None:
    with Workers(0) as workers:
        assert workers.submit(double, 3).result() == (6, os.getpid())
        with pytest.raises(DataError):
            workers.submit(refuse, 1).result()


def test_closing_cancels_what_has_not_begun(tmp_path: Path) -> None:
    workers = Workers(1)
    workers.submit(double, 0).result(60)
    futures = [workers.submit(stall, 0), workers.submit(double, 1)]
    began = time.monotonic()
    workers.close()
    assert time.monotonic() - began < 10
    assert all(future.cancelled() for future in futures)
    with pytest.raises(RuntimeError):
        workers.submit(double, 1)
