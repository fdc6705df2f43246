"""Processes that decode and write: a file that kills or stalls one costs that file, not the run."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerProcess
from typing import Any

from vitad_med.errors import DataError

TIMEOUT_S = 120.0
"""Longest that one file may take. A JPEG 2000 file of 134 million pixels decodes in about 20 s."""

_PRELOAD = ["vitad_med.scoring.image_task"]


class WorkerLost(DataError):
    """The process that worked on a file ended or was stopped; the file is to blame, or the machine's memory."""


@dataclass
class _Task:
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    future: Future[Any] = field(default_factory=Future)


@dataclass
class _Worker:
    process: ForkServerProcess
    pipe: Connection
    task: _Task | None = None
    began: float = 0.0


class Workers(Executor):
    """Runs functions in processes of one thread each, in the order in which they are given.

    A standard pool cannot say which task ended its process, and waits for ever for one that hangs. Here each process
    has one task at a time, so both are known.

    Args:
        count: processes; 0 runs every task in this process when it is given.
        timeout: seconds that a task may take.
    """

    def __init__(self, count: int, timeout: float = TIMEOUT_S) -> None:
        self.count, self.timeout = count, timeout
        self._waiting: deque[_Task] = deque()
        self._lock = threading.Lock()
        self._closing = False
        self._workers: list[_Worker] = []
        if not count:
            return
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(_PRELOAD)
        self._woken, self._wake = self._context.Pipe(duplex=False)
        self._workers = [self._start() for _ in range(count)]
        self._thread = threading.Thread(target=self._serve, name="workers", daemon=True)
        self._thread.start()
        # At the end of the interpreter processes are stopped, and a thread that still serves would start others.
        atexit.register(self.close)

    def submit(  # type: ignore[override]  # no keyword arguments
        self, function: Callable[..., Any], /, *arguments: Any
    ) -> Future[Any]:
        """Run ``function(*arguments)``; both travel to the process, and so do the result or the error."""
        task = _Task(function, arguments)
        if not self.count:
            _run_here(task)
            return task.future
        with self._lock:
            if self._closing:
                raise RuntimeError("the workers are closed")
            self._waiting.append(task)
        self._wake.send_bytes(b"task")
        return task.future

    def close(self) -> None:
        """End the processes; tasks that have not begun are cancelled, those under way are stopped."""
        if not self.count or self._closing:
            return
        atexit.unregister(self.close)
        with self._lock:
            self._closing = True
        self._wake.send_bytes(b"end")
        self._thread.join()
        for worker in self._workers:
            _stop(worker)
        for task in (*self._waiting, *(worker.task for worker in self._workers if worker.task)):
            task.future.cancel()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """As :meth:`close`, by the name that executors have."""
        self.close()

    def _start(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_work, args=(theirs,), daemon=True)
        process.start()
        theirs.close()
        return _Worker(process, ours)

    def _serve(self) -> None:
        while True:
            self._hand_out()
            ready = wait([self._woken, *(worker.pipe for worker in self._workers)], timeout=self._patience())
            if self._woken in ready:
                self._woken.recv_bytes()
                if self._closing:
                    return
            for number, worker in enumerate(self._workers):
                if worker.pipe in ready:
                    self._receive(number, worker)
                elif worker.task is not None and time.monotonic() - worker.began > self.timeout:
                    self._replace(number, worker, f"it took longer than {self.timeout:g} s")

    def _hand_out(self) -> None:
        for number, worker in enumerate(self._workers):
            if worker.task is not None:
                continue
            with self._lock:
                if not self._waiting:
                    return
                worker.task = self._waiting.popleft()
            worker.began = time.monotonic()
            try:
                worker.pipe.send((worker.task.function, worker.task.arguments))
            except OSError:
                self._replace(number, worker, "its process ended")

    def _receive(self, number: int, worker: _Worker) -> None:
        try:
            fine, result = worker.pipe.recv()
        except (EOFError, OSError):
            self._replace(number, worker, "its process ended, as by a crash of the decoder or for want of memory")
            return
        except Exception as error:  # what came cannot be unpickled, or there is no memory for it
            fine, result = False, RuntimeError(f"the answer cannot be read: {type(error).__name__}")
        task, worker.task = worker.task, None
        assert task is not None
        if fine:
            task.future.set_result(result)
        else:
            task.future.set_exception(result)

    def _replace(self, number: int, worker: _Worker, why: str) -> None:
        _stop(worker)
        task, worker.task = worker.task, None
        self._workers[number] = self._start()
        if task is not None:
            task.future.set_exception(WorkerLost(why))

    def _patience(self) -> float | None:
        begun = [worker.began for worker in self._workers if worker.task is not None]
        return max(0.0, min(begun) + self.timeout - time.monotonic()) + 0.01 if begun else None


def _run_here(task: _Task) -> None:
    try:
        task.future.set_result(task.function(*task.arguments))
    except Exception as error:
        task.future.set_exception(error)


def _stop(worker: _Worker) -> None:
    worker.process.kill()
    worker.process.join()
    worker.pipe.close()


def _work(pipe: Connection) -> None:
    """A process: one task after another, until the other end is gone."""
    import signal

    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the main process decides
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    while True:
        try:
            function, arguments = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            answer: tuple[bool, Any] = (True, function(*arguments))
        except Exception as error:
            answer = (False, error)
        try:
            pipe.send(answer)
        except OSError:
            return
        except Exception as error:  # the result or the error cannot be pickled
            pipe.send((False, RuntimeError(f"{type(error).__name__}: {error}")))
