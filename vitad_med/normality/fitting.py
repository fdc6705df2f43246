"""One pass over the normal images that leaves a model of normality; goes on where it was stopped."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
import torch.distributed as dist

from vitad_med.data.case import Case
from vitad_med.data.roster import UNKEYED, naming, patient_keys
from vitad_med.data.splits import data_digest
from vitad_med.data.stream import CaseStream
from vitad_med.digests import first_difference
from vitad_med.errors import ConfigError, DataError
from vitad_med.networks.features import FeatureExtractor
from vitad_med.normality.merge import write_model_of_parts
from vitad_med.normality.model import NormalityFit
from vitad_med.normality.state import Provenance, Stored, read_stored, write_stored

TELL_EVERY_S = 20.0

logger = logging.getLogger(__name__)


class NormalityFitting:
    """Fits a model of normality and writes it.

    Beside the model lies a *part*: what was collected, from which a run that was killed goes on, and which merges with
    parts of other images (:func:`~vitad_med.normality.merge.write_model_of_parts`). In a group of processes each takes
    its own images, and the first merges the parts of all, which it must be able to read.

    Args:
        extractor: on the device where it is to run.
        fit: empty; what to collect (:func:`~vitad_med.normality.kinds.choose_fit`).
        stream: the normal images of this process.
        path: of the model. The part has ``.part`` before the suffix, and the process's number where there are several.
        save_every: batches between two writings of the part.
        resume: go on from the part of a run that was stopped; False starts anew.
        identifier_key: the site's secret: patients of data that are not public are named under it, or not at all.
        shard_name: which part of which list the images are (:func:`vitad_med.data.shards.shard_name`).
        precision: makes the context in which features are taken, for mixed precision.

    Raises:
        ConfigError: ``save_every`` below 1, or an image size that the extractor cannot take.
    """

    def __init__(
        self,
        extractor: FeatureExtractor,
        fit: NormalityFit,
        stream: CaseStream,
        path: str | Path,
        save_every: int = 50,
        resume: bool = True,
        identifier_key: bytes | None = None,
        shard_name: str | None = None,
        precision: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        if save_every < 1:
            raise ConfigError(f"save_every is {save_every}: give a number of batches of at least 1")
        self.extractor, self.fit, self.stream = extractor, fit, stream
        self.path = Path(path)
        self.save_every, self.resume, self.precision = save_every, resume, precision
        cases = stream.cases
        self.provenance = Provenance.of(
            extractor,
            stream.image_size,
            stream.channels,
            data_digests=(data_digest(cases),),
            patients=patient_keys(cases, identifier_key),
            naming=naming(cases, identifier_key),
            shards=() if shard_name is None else (shard_name,),
        )

    def run(self) -> str:
        """Collect, write the part and the model.

        Returns:
            the model's digest.

        Raises:
            ConfigError: the part on disk was made with other settings.
            DataError: images that cannot be read, or too few.
            StorageError: a file cannot be written.
        """
        if UNKEYED in self.provenance.naming:
            logger.info(
                "the model will not say whose images it is of: that takes --identifier_key_file, a secret of the site"
            )
        ranks = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
        rank = dist.get_rank() if ranks > 1 else 0
        parts = [part_path(self.path, number, ranks) for number in range(ranks)]
        self._collect(parts[rank])
        if ranks == 1:
            model = self.fit.finish()
            stored = Stored("model", model.kind, model.settings, self.provenance, model.state_dict())
            digest = write_stored(self.path, stored)
            logger.info("wrote a model of %d normal images to %s", self.fit.count, self.path.name)
        else:
            dist.barrier()
            digest = write_model_of_parts(parts, self.path) if rank == 0 else ""
            dist.barrier()
            logger.info("wrote a model of the normal images of %d processes to %s", ranks, self.path.name)
        return digest

    def _collect(self, part: Path) -> None:
        """Take in every batch that the part on disk has not, writing it every so often and at the end."""
        done = self._take_up(part)
        total = len(self.stream)
        began = spoke = time.monotonic()
        device = self.extractor.mean.device
        with torch.no_grad():
            for number, batch in enumerate(self.stream.starting_at(done), start=done + 1):
                with self.precision():
                    features = self.extractor(batch["image"].to(device)).float()
                self.fit.update(features, [image_stream(self.stream.cases[i]) for i in batch["index"].tolist()])
                if number % self.save_every == 0 and number < total:
                    self._write(part, number)
                now = time.monotonic()
                if now - spoke > TELL_EVERY_S:
                    spoke = now
                    left = (now - began) * (total - number) / (number - done)
                    logger.info("fitted %d of %d batches, %.0f s left", number, total, left)
        if done < total:
            self._write(part, total)

    def _take_up(self, part: Path) -> int:
        """Restore the part of a run that was stopped; how many batches it has."""
        if not self.resume or not part.is_file():
            return 0
        stored = read_stored(part, "part")
        there = {
            "scorer": stored.kind,
            **stored.settings,
            **stored.provenance.features,
            "batch_size": stored.batches[1],
        }
        here = {"scorer": self.fit.kind, **self.fit.settings, **self.provenance.features}
        here["batch_size"] = self.stream.batch_size
        difference = first_difference(here, there)
        if difference is None and stored.provenance != self.provenance:
            difference = ("images", "these", "others")
        if difference is not None:
            key, now, then = difference
            raise ConfigError(
                f"'{part}' was made with other settings ({key}: {then}, now {now}): use them, another output_dir, or "
                "--resume False to start anew"
            )
        self.fit.restore(stored.tensors, self.extractor.mean.device)
        logger.info("going on after %d images", self.fit.count)
        return stored.batches[0]

    def _write(self, part: Path, batches: int) -> None:
        complete = batches == len(self.stream)
        if complete and self.fit.count != len(self.stream.cases):
            raise DataError(f"{self.fit.count} of {len(self.stream.cases)} images were fitted: start anew")
        stored = Stored(
            *("part", self.fit.kind, self.fit.settings, self.provenance, self.fit.tensors()),
            batches=(batches, self.stream.batch_size),
            complete=complete,
        )
        write_stored(part, stored)


def part_path(path: Path, number: int = 0, of: int = 1) -> Path:
    """Where the part of one of several processes lies."""
    return path.with_name(f"{path.stem}.part{path.suffix}" if of == 1 else f"{path.stem}.part{number}{path.suffix}")


def image_stream(case: Case) -> int:
    """The stream of random draws that belongs to an image, wherever it stands in whichever list."""
    return int.from_bytes(hashlib.sha256(f"{case.source}:{case.case_id}".encode()).digest()[:6], "big")


def process_shard(shard: str) -> str:
    """The share of a shard ``K/N`` that this process takes; the shares of all processes are the shard.

    Raises:
        ConfigError: ``shard`` is not of this form.
    """
    number, _, parts = shard.partition("/")
    if not (number.isdigit() and parts.isdigit()):
        raise ConfigError(f"shard is {shard!r}, but must be K/N with K from 1 to N, e.g. '2/4' for the second quarter")
    several = dist.is_available() and dist.is_initialized()
    rank, ranks = (dist.get_rank(), dist.get_world_size()) if several else (0, 1)
    return f"{(int(number) - 1) * ranks + rank + 1}/{int(parts) * ranks}"
