"""`vitad-med score`: a folder from its worklist to its results."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from vitad_med.bundles.metadata import read_metadata
from vitad_med.data.worklist import Item, build_worklist
from vitad_med.durable import write_file
from vitad_med.errors import ConfigError, DataError
from vitad_med.findings.finding import Provenance
from vitad_med.predictions.journal import Journal, journal_text, with_digests
from vitad_med.scoring.backends import Backend, open_backend
from vitad_med.scoring.bundle import ScoringBundle, load_bundle
from vitad_med.scoring.image_task import DICOM, Decoding, Outputs, Source
from vitad_med.scoring.judgement import Judgement, judgement_of
from vitad_med.scoring.page import Account, page_of
from vitad_med.scoring.pictures import Pictures
from vitad_med.scoring.pipeline import Entry, Finished, Pipeline, Progress, batches_of
from vitad_med.scoring.record import Inputs, digest_of_files, software
from vitad_med.scoring.rows import Row, links_of, row_of
from vitad_med.scoring.settings import ScoreSettings
from vitad_med.scoring.state import RunState
from vitad_med.scoring.workers import Workers
from vitad_med.scoring.worklist import in_order, worklist_csv, worklist_parquet
from vitad_med.site.key import SiteKey, key_path, new_key, read_key
from vitad_med.site.linkage import add_links

PICTURES = "pictures"
"""Folder in the state for pictures of the highest scores so far; the page takes them in."""

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Scored:
    """A finished run.

    Attributes:
        out: its folder.
        rows: every file, in the order of the worklist.
        threshold: of the calibration, or None.
    """

    out: Path
    rows: list[Row]
    threshold: float | None

    def objects(self) -> list[Path]:
        """The DICOM objects that were written, to be sent."""
        return sorted((self.out / DICOM).glob("*/*.dcm"))


class Session:
    """A bundle, its backend, the site's key and the processes that decode: opened once for any number of folders.

    Args:
        settings: of the runs; ``source``, ``out`` and ``resume`` are those of each.
        tell: gets a sentence now and then.

    Raises:
        ConfigError, DataError, WeightsError: see :func:`~vitad_med.scoring.bundle.load_bundle`,
            :func:`~vitad_med.scoring.backends.open_backend`, :func:`~vitad_med.scoring.judgement.judgement_of`,
            :func:`~vitad_med.site.key.read_key`.
    """

    def __init__(self, settings: ScoreSettings, tell: Tell = print) -> None:
        self.settings, self.tell = settings, tell
        self._workers: Workers | None = None
        self.key = _site_key(settings.resume, tell)
        self.bundle: ScoringBundle = load_bundle(settings.bundle, settings.overrides)
        self.backend: Backend = open_backend(settings.backend, self.bundle, settings.exported)
        self.pipeline_settings = dict(self.bundle.pipeline)
        if settings.window != "first":
            self.pipeline_settings["window"] = settings.window
        self.judgement: Judgement = judgement_of(
            settings.calibration, self.bundle.model_digest, self.pipeline_settings, self.backend.description
        )
        self.inputs = Inputs(settings, self.bundle, self.pipeline_settings, self.backend.description)

    def score(self, source: Path, out: Path, resume: bool = False) -> Scored:
        """Score a folder.

        Args:
            source: as in :class:`~vitad_med.scoring.settings.ScoreSettings`.
            out: folder of the results.
            resume: go on with the run that is there.

        Raises:
            ConfigError: ``out`` holds another run; see :class:`~vitad_med.scoring.state.RunState`.
            DataError: there is nothing to look at.
            StorageError: a result cannot be written; what was finished is kept.
        """
        out = out.expanduser().resolve()
        source = source.expanduser()
        if source.is_dir() and source.resolve() in (out, *out.parents):
            raise ConfigError(
                f"--out '{out}' lies in the folder that is scored, so that its pictures would be scored next: choose "
                "an --out outside of it"
            )
        self.tell(f"looking at the files of the folder for {self.bundle.name}")
        items = build_worklist(source, self.bundle.intended, self.processes())
        state = RunState(out)
        with state.locked():
            return self._score(items, out, state, resume)

    def _score(self, items: list[Item], out: Path, state: RunState, resume: bool) -> Scored:
        files = digest_of_files(items, self.key)
        record = self.inputs.record(self.judgement.digest, self.key, files, _now())
        state.begin(record, resume)
        entries, aside = self._entries(items)
        items.clear()  # the caller's list: rows and places are enough from here on
        batches = batches_of(entries, self.settings.batch_size)
        done = len(state.batches)
        if done > len(batches):
            raise DataError(f"'{state.folder}' holds {done} batches of {len(batches)}: start anew in another --out")
        pipeline = self.pipeline(out, state.record["created"])
        if state.lost:
            self.tell(f"files of {state.lost} finished batches are gone or have another size: they are done again")
        if done:
            self.tell(f"going on after {sum(map(len, state.batches))} of {len(entries)} files")
        progress = Progress(len(entries), self.tell)
        progress.skip(sum(map(len, state.batches)))
        remaining = list(enumerate(batches))[done:]
        pictures = Pictures(state.folder / PICTURES, self.settings.thumbnails)
        pictures.resume(row for batch in state.batches for row in batch)
        for finished in self._finished(pipeline, remaining):
            pictures.add(finished)
            state.add(finished.rows, finished.files)
            progress.add(len(finished.rows))
        rows = in_order([*aside, *(row for batch in state.batches for row in batch)])
        self._write_results(out, state, rows, pictures)
        return Scored(out, rows, self.judgement.threshold)

    def _entries(self, items: Sequence[Item]) -> tuple[list[Entry], list[Row]]:
        """Files to score and rows of the others; what the names stand for goes into the site's table first."""
        rows = [row_of(item, self.key) for item in items]
        add_links(link for item, row in zip(items, rows, strict=True) for link in links_of(item, row, self.key))
        entries, aside = [], []
        for item, row in zip(items, rows, strict=True):
            if item.case is None:
                aside.append(row)
            else:
                entries.append(Entry(Source(item.path.resolve(), row.image, item.header is not None), row))
        return entries, aside

    def pipeline(self, out: Path, created: str) -> Pipeline:
        """The pipeline of a run in ``out`` that began at ``created``."""
        settings = self.settings
        provenance = Provenance(
            method=self.bundle.name,
            version=self.bundle.version,
            score_rule=self.bundle.score_rule,
            model_digest=self.bundle.model_digest,
            config_digest=self.inputs.digest,
            calibration_digest=self.judgement.digest,
            software_digest=software().digest,
            created=datetime.fromisoformat(created),
        )
        return Pipeline(
            self.backend,
            self.judgement,
            Decoding(self.bundle.image_size, self.bundle.channels, settings.window, "sc" in settings.kinds),
            Outputs(
                folder=out,
                maps="maps" in settings.outputs,
                kinds=settings.kinds,
                region_share=settings.region_share,
                thumbnail="report" in settings.outputs and settings.thumbnails > 0,
                provenance=provenance,
                deidentify=self.key if settings.deidentify else None,
                window=settings.window,
                encoding=settings.encoding,
            ),
            settings.batch_size,
        )

    def _finished(self, pipeline: Pipeline, remaining: Sequence[tuple[int, Sequence[Entry]]]) -> Iterator[Finished]:
        if not remaining:
            return
        if self.settings.engine == "ray":
            from vitad_med.scoring.ray_engine import run_on_ray  # an optional package

            yield from run_on_ray(self.settings, pipeline, remaining)
            return
        yield from pipeline.run(remaining, self.processes())

    def processes(self) -> Workers:
        """What decodes and writes; started when it is first needed."""
        if self._workers is None:
            count = self.settings.workers
            self._workers = Workers(max(1, _cpus() - 1) if count is None else count)
        return self._workers

    def close(self) -> None:
        """End the processes that decode and write."""
        if self._workers is not None:
            self._workers.close()
            self._workers = None

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write_results(self, out: Path, state: RunState, rows: list[Row], pictures: Pictures) -> None:
        settings = self.settings
        if "report" in settings.outputs:
            account = self._account(state.record["created"])
            page = page_of(account, rows, pictures.read(), settings.deidentify)
            write_file(out / "report.html", page.encode())
        if "parquet" in settings.outputs:
            write_file(out / "worklist.parquet", worklist_parquet(rows))
        write_file(out / "run.json", self._journal(state.record["created"]).encode())
        write_file(out / "worklist.csv", worklist_csv(rows))
        pictures.tidy()

    def _account(self, created: str) -> Account:
        bundle = self.bundle
        return Account(
            method=bundle.name,
            created=created,
            score_rule=bundle.score_rule,
            digests=[("Model", bundle.model_digest), ("Calibration", self.judgement.digest)],
            backend=", ".join(str(value) for value in self.backend.description.values()),
            software=software().text,
            measured=read_metadata(bundle.folder).get("eval_metrics") or {},
            calibration=self.judgement.calibration,
        )

    def _journal(self, created: str) -> str:
        journal = Journal(
            method=self.bundle.name,
            public=False,
            identifiers="hashed",
            created=created,
            model_digest=self.bundle.model_digest,
            pipeline=self.pipeline_settings,
            backend=self.backend.description,
            score_rule=self.bundle.score_rule,
            software=software().text,
        )
        return journal_text(with_digests(journal))


def score_folder(settings: ScoreSettings, tell: Tell = print) -> Scored:
    """Load the bundle and score one folder; see :class:`Session`."""
    with Session(settings, tell) as session:
        return session.score(settings.source, settings.out, settings.resume)


def _cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _site_key(resume: bool, tell: Tell) -> SiteKey:
    """The site's key; one is made where there is none, but never for a run that has names of another one."""
    if not key_path().exists() and not resume:
        key = new_key()
        tell(f"made the site's key {key.id} at {key_path()}: keep a copy, names cannot be led back without it")
        return key
    return read_key()


def _now() -> str:
    """Time of the run; ``SOURCE_DATE_EPOCH`` fixes it, for bytes that repeat (reproducible-builds.org)."""
    fixed = os.environ.get("SOURCE_DATE_EPOCH")
    try:
        moment = datetime.now(UTC) if fixed is None else datetime.fromtimestamp(int(fixed), UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise ConfigError(f"SOURCE_DATE_EPOCH is '{fixed}', but must be seconds since 1970") from error
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
