"""The same batches on many machines, by Ray Data: fixed boundaries and one thread count give the bytes of one machine.

Every machine must see the folders of the source, the bundle and the results under the same paths.
"""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Iterator, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import torch

from vitad_med.errors import ConfigError, DataError, VitadError
from vitad_med.scoring.pipeline import Entry, Finished, Pipeline
from vitad_med.scoring.settings import ScoreSettings

CLUSTER = "RAY_ADDRESS"
"""Environment variable of Ray: the cluster to use; without it one is started on this machine."""


def run_on_ray(
    settings: ScoreSettings, pipeline: Pipeline, numbered: Sequence[tuple[int, Sequence[Entry]]]
) -> Iterator[Finished]:
    """Finished batches in their order; each is decoded, scored and written by one actor.

    Args:
        settings: of the run; every actor opens the bundle and the backend for itself.
        pipeline: of the run, whose outputs and settings the actors take over.
        numbered: batches to do.

    Raises:
        ConfigError: ray is not installed or does not start.
        StorageError: an output cannot be written.
    """
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise ConfigError("--engine ray needs Ray: pip install 'vitad-med[ray]'") from error
    started = not ray.is_initialized()
    if started:
        _start(ray)
    try:
        context = ray.data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        rows = [{"number": number, "entries": pickle.dumps(list(entries))} for number, entries in numbered]
        threads = torch.get_num_threads()
        actors = max(1, int(ray.cluster_resources().get("CPU", 1)) // threads)
        gpus = 1 if pipeline_device(pipeline) == "cuda" else 0
        shared = {"settings": settings, "decoding": pipeline.decoding, "outputs": pipeline.outputs, "threads": threads}
        # Few rows: a block each, so that batches spread over the actors whatever their number.
        scorer: Any = _Scorer  # Ray's types know functions only
        done = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
            scorer,
            fn_constructor_kwargs={"shared": pickle.dumps(shared)},
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=min(actors, len(rows))),
            num_cpus=threads,
            num_gpus=gpus,
        )
        for row in done.iter_rows():
            if row["error"]:
                raise pickle.loads(row["error"])  # written by our own actors, a moment ago
            yield pickle.loads(row["finished"])
    finally:
        if started:
            ray.shutdown()


def _start(ray: ModuleType) -> None:
    address = os.environ.get(CLUSTER) or None
    try:
        ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # of a dozen kinds: no such cluster, another version there, no room for its sockets
        where = f"at {CLUSTER}='{address}'" if address else "on this machine (its folder: RAY_TMPDIR, a short path)"
        raise ConfigError(f"--engine ray: Ray does not start {where}: {error}") from error


def pipeline_device(pipeline: Pipeline) -> str:
    """``cpu`` or ``cuda``, from what the backend says of itself."""
    return str(pipeline.backend.description.get("device", "cpu"))


class _Scorer:
    """An actor: the bundle is opened once, then batch after batch is done whole."""

    def __init__(self, shared: bytes) -> None:
        from vitad_med.scoring.run import Session

        given: dict[str, Any] = pickle.loads(shared)
        torch.set_num_threads(given["threads"])
        session = Session(replace(given["settings"], resume=True, engine="local"), tell=lambda _: None)
        self.pipeline = Pipeline(
            session.backend, session.judgement, given["decoding"], given["outputs"], session.settings.batch_size
        )

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        entries: list[Entry] = pickle.loads(row["entries"])
        answer: dict[str, Any] = {"number": int(np.asarray(row["number"])), "finished": b"", "error": b""}
        try:
            answer["finished"] = pickle.dumps(self.pipeline.score_batch(answer["number"], entries))
        except VitadError as error:
            answer["error"] = pickle.dumps(type(error)(str(error)))
        except Exception as error:  # a row that fails would be tried again and again
            answer["error"] = pickle.dumps(DataError(f"batch {answer['number']}: {type(error).__name__}"))
        return answer
