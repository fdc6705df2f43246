"""An interpreter that has imported MONAI and this package, and runs command lines in forked copies of itself.

The imports take most of the time of a short command. Everything else is that of a process of its own: arguments,
folder, environment, group, standard output, exit status. What is read while modules are imported is not (the number of
OpenMP threads, warning filters): that is the environment of the first test.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
START_S = 300.0  # on a busy machine


class Warm:
    """The interpreter; it starts with the first command.

    Args:
        environ: of the interpreter, from whose beginning on every command lives.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = {**environ, "MLFLOW_DISABLE_TELEMETRY": "true"}  # a thread that begins with the import
        self._server: subprocess.Popen[str] | None = None

    def run(
        self, words: Sequence[str], cwd: Path, environ: Mapping[str, str], timeout: float = 900
    ) -> subprocess.CompletedProcess[str]:
        """Run ``python -m MODULE ARGUMENTS`` to its end.

        Args:
            words: the command line, from the interpreter on.
            cwd: where.
            environ: the whole environment.
            timeout: seconds, after which the command and all that it started are killed.

        Raises:
            subprocess.TimeoutExpired: after that.
        """
        assert list(words[:2]) == [sys.executable, "-m"], words
        server = self._started()
        with tempfile.TemporaryDirectory() as scratch:
            job = [list(words[2:]), str(cwd), dict(environ), scratch]
            assert server.stdin is not None
            print(json.dumps(job), file=server.stdin, flush=True)
            process = int(self._line(START_S))
            try:
                status = int(self._line(timeout))
            except TimeoutError as error:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process, signal.SIGKILL)
                self._line(START_S)
                raise subprocess.TimeoutExpired(list(words), timeout) from error
            told = [(Path(scratch) / name).read_text(errors="replace") for name in ("stdout", "stderr")]
        return subprocess.CompletedProcess(list(words), status, *told)

    def close(self) -> None:
        """End the interpreter."""
        if self._server is not None:
            self._server.communicate()
            self._server = None

    def _started(self) -> subprocess.Popen[str]:
        if self._server is None:
            pipe = subprocess.PIPE
            command = [sys.executable, "-m", "tests.warm"]
            self._server = subprocess.Popen(command, cwd=ROOT, env=self._environ, stdin=pipe, stdout=pipe, text=True)
            assert self._line(START_S) == "ready"
        return self._server

    def _line(self, timeout: float) -> str:
        assert self._server is not None
        assert self._server.stdout is not None
        if not select.select([self._server.stdout], [], [], timeout)[0]:
            raise TimeoutError
        return self._server.stdout.readline().strip()


def serve() -> None:
    """Read a job a line; tell the number of its process, then its exit status."""
    import gc
    import runpy
    import threading

    import mlflow  # noqa: F401
    import monai.bundle.scripts
    import monai.engines  # noqa: F401

    import vitad_med.bundles
    import vitad_med.cli
    import vitad_med.evaluation
    import vitad_med.scoring.run  # noqa: F401

    # A copy has only the thread that forks, and would wait for ever for what others hold. (The threads of OpenBLAS and
    # jemalloc, which Python does not know, are made for that.)
    assert threading.active_count() == 1, threading.enumerate()
    gc.freeze()  # spares every copy the collection of all that was imported when it ends, which is most of its time
    print("ready", flush=True)
    while line := sys.stdin.readline():
        (module, *arguments), folder, environ, scratch = json.loads(line)
        child = os.fork()
        if child == 0:
            os.setsid()
            os.chdir(folder)
            os.environ.clear()
            os.environ.update(environ)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            for stream, name in ((1, "stdout"), (2, "stderr")):
                os.dup2(os.open(os.path.join(scratch, name), os.O_WRONLY | os.O_CREAT), stream)
            sys.argv = [module, *arguments]
            runpy.run_module(module, run_name="__main__", alter_sys=True)
            sys.exit(0)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
    serve()
