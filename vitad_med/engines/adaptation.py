"""Test-time adaptation inside MONAI's evaluator: an inferer that adapts, and a trainer that runs before it.

``online`` and ``episodic`` adaptation happen batch by batch while the images are evaluated, so they are an inferer.
``transductive`` adaptation sees the whole unlabelled test set many times first, so it is a trainer; the inferer then
only predicts.
"""

from __future__ import annotations

import copy
import json
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import torch
from ignite.engine import Engine, Events
from monai.engines import SupervisedTrainer
from monai.inferers import Inferer
from torch import Tensor
from torch.utils.data import DataLoader

from vitad_med.adaptation.adapter import TestTimeAdapter
from vitad_med.adaptation.audit import batch_digest
from vitad_med.checkpoint import atomic_path
from vitad_med.engines.adaptation_progress import AdaptationProgress, StoredStep
from vitad_med.engines.adaptation_stream import StreamSampler
from vitad_med.engines.progress import Progress
from vitad_med.errors import ConfigError
from vitad_med.metrics.bootstrap import MINIMUM_PATIENTS
from vitad_med.outputs import AnomalyOutput, ProxyOutput

Mode = Literal["online", "transductive", "episodic"]
Predict = Literal["after_step", "before_step"]

logger = logging.getLogger(__name__)


class AdaptedOutput(NamedTuple):
    """What an adapted model says of a batch.

    Attributes:
        score, map: as in :class:`~vitad_med.outputs.AnomalyOutput`, from after or before the update as asked for.
        other: the other of the two.
        source: scores [B] of the source model.
        after: scores [B] after the update, whichever of the two was asked for.
        before: scores [B] before it.
    """

    score: Tensor
    map: Tensor
    other: AnomalyOutput
    source: Tensor
    before: Tensor
    after: Tensor


def check_mode(mode: str, predict: str) -> None:
    """Refuse unknown values of the keys ``mode`` and ``predict``."""
    for key, value, known in (("mode", mode, get_args(Mode)), ("predict", predict, get_args(Predict))):
        if value not in known:
            raise ConfigError(f"{key} '{value}' is unknown: use {', '.join(map(repr, known))}")


class AdaptingInferer(Inferer):
    """Adapts on each batch, in the modes that do, and predicts.

    Args:
        adapter: holds the network; the one that the evaluator hands over is the same.
        mode: ``online`` keeps what it learned, ``episodic`` returns to the source model after each batch,
            ``transductive`` adapts nothing here.
        predict: whether the outputs from ``after_step`` or from ``before_step`` count. In transductive mode the source
            model's are those from before.
        localized: for ``adapt_on: boxed_only``, which cases have boxes or a mask, bool [N]; None adapts on all.
        progress: where finished batches are kept for a resume; None keeps nothing.
    """

    def __init__(
        self,
        adapter: TestTimeAdapter,
        mode: Mode = "online",
        predict: Predict = "after_step",
        localized: Tensor | None = None,
        progress: AdaptationProgress | None = None,
    ) -> None:
        super().__init__()
        check_mode(mode, predict)
        self.adapter = adapter
        self.mode = mode
        self.predict = predict
        self.localized = localized
        self.progress = progress
        # The weights as they are now, before any update.
        self.source = copy.deepcopy(adapter.network).eval().requires_grad_(False)
        self.seconds: list[float] = []
        self._number = 0

    def __call__(  # type: ignore[override]
        self, inputs: Tensor, network: torch.nn.Module, index: Tensor | None = None, *args: Any, **kwargs: Any
    ) -> AdaptedOutput:
        """Outputs of images [B, C, H, W] in 0..1, with ``index`` [B] into the cases."""
        if self.mode == "transductive":
            source = self._source_outputs(inputs)
            step = StoredStep("", source, self.adapter.outputs(inputs), _scores(source))
        else:
            step = self._adapt(inputs, index)
        size = (inputs.shape[-2], inputs.shape[-1])
        finish = self.adapter.network.finish
        before, after = (AnomalyOutput(*(part.float() for part in finish(o, size))) for o in (step.before, step.after))
        chosen, other = (after, before) if self.predict == "after_step" else (before, after)
        return AdaptedOutput(chosen.score, chosen.map, other, step.source, before.score, after.score)

    def _adapt(self, inputs: Tensor, index: Tensor | None) -> StoredStep:
        digest = batch_digest(inputs)
        stored = self.progress.stored(self._number, digest) if self.progress is not None else None
        self._number += 1
        if stored is not None:
            return stored.to(inputs.device)
        chosen = None
        if self.localized is not None:
            assert index is not None
            chosen = self.localized[index.cpu()].to(inputs.device)
        began = time.perf_counter()
        step = self.adapter.step(inputs, chosen, digest=digest)
        self.seconds.append(time.perf_counter() - began)
        assert step.before is not None  # predictions were asked for
        assert step.after is not None
        source = step.before if self.adapter.method is None else self._source_outputs(inputs)
        made = StoredStep(digest, step.before, step.after, _scores(source))
        if self.progress is not None:
            self.progress.add(made)
        return made

    @torch.no_grad()
    def _source_outputs(self, inputs: Tensor) -> ProxyOutput:
        with self.adapter.autocast():
            return self.source.train_outputs(inputs)


class AdaptationTrainer(SupervisedTrainer):
    """MONAI trainer of transductive adaptation: a number of updates on shuffled passes over the test images.

    Args:
        device: of the network.
        loader: batches ``{"image": [B, C, S, S]}`` of a :class:`~vitad_med.engines.adaptation_stream.StreamSampler`.
        adapter: does the updates.
        progress: checkpoint.
    """

    def __init__(
        self,
        device: torch.device | str,
        loader: DataLoader[dict[str, Any]],
        adapter: TestTimeAdapter,
        progress: AdaptationProgress | None = None,
    ) -> None:
        super().__init__(
            device=torch.device(device),
            max_epochs=1,
            train_data_loader=loader,
            network=adapter.network,
            optimizer=adapter.optimizer,
            loss_function=lambda *_: None,  # the adapter's method has its own
            train_handlers=[Progress()],
            decollate=False,
        )
        assert isinstance(loader.batch_sampler, StreamSampler)
        self.sampler = loader.batch_sampler
        self.adapter = adapter
        self.progress = progress
        self.seconds: list[float] = []

    def _iteration(self, engine: AdaptationTrainer, batchdata: dict[str, Any]) -> dict[str, Any]:  # type: ignore[override]
        images = batchdata["image"].to(engine.state.device, non_blocking=True)
        began = time.perf_counter()
        step = self.adapter.step(images, predict=False)
        self.seconds.append(time.perf_counter() - began)
        if self.progress is not None:
            self.progress.add(None)
        loss = float("nan") if step.loss is None else step.loss
        return {"monitors": {"loss": loss, "kept": float(step.decision == "kept")}}


class Adaptation:
    """Handler around an evaluation: resumes, adapts first in transductive mode, ends with ``adaptation.json``.

    Args:
        inferer: of the evaluator.
        trainer: used in transductive mode only.
        output_dir: of the results.
        settings: plain values that name the run in ``adaptation.json``.
    """

    def __init__(
        self,
        inferer: AdaptingInferer,
        trainer: AdaptationTrainer,
        output_dir: str | Path,
        settings: dict[str, Any] | None = None,
    ) -> None:
        self.inferer = inferer
        self.adapter = inferer.adapter
        self.trainer = trainer
        self.path = Path(output_dir) / "adaptation.json"
        self.settings = dict(settings or {})

    def attach(self, engine: Engine) -> None:
        """Register before the handlers that collect predictions."""
        engine.add_event_handler(Events.STARTED, self.start)
        engine.add_event_handler(Events.COMPLETED, self.finish)

    def start(self, _: Engine) -> None:
        """Take up an interrupted run; in transductive mode adapt now."""
        self.path.unlink(missing_ok=True)
        progress = self.inferer.progress
        done = progress.load() if progress is not None else 0
        if self.adapter.audit is not None:
            self.adapter.audit.write("resume" if done else "start", batches_done=done, **self.settings)
        if (limits := self.adapter.guard_range) is not None:
            logger.info(
                "guard: %d normal images of %d patients; AUROC %.3f, at least %.3f; mean score %.4f, %.4f to %.4f",
                limits.images,
                limits.patients,
                limits.auroc,
                limits.auroc_low,
                limits.mean_score,
                limits.mean_low,
                limits.mean_high,
            )
            if limits.few:
                logger.warning(
                    "guard: %d patients are too few for a guard: only a collapse leaves so wide a range; give it "
                    "normal images of at least %d patients (guard_data, guard_dataset_dir, guard_section)",
                    limits.patients,
                    MINIMUM_PATIENTS,
                )
        if self.inferer.mode != "transductive":
            return
        sampler = self.trainer.sampler
        if self.adapter.method is not None and done < len(sampler):
            sampler.start = done
            self.trainer.state.epoch_length = len(sampler) - done  # else the loader would begin again
            self.trainer.run()
        self.adapter.close()

    def finish(self, _: Engine) -> None:
        """Last look of the guard, the summary, and no more traces of an unfinished run."""
        self.adapter.close()
        tally, reading, limits = self.adapter.tally, self.adapter.approved_reading, self.adapter.guard_range
        seconds = sorted(self.trainer.seconds or self.inferer.seconds)
        content = {
            "schema": "vitad_med/adaptation/1",
            **self.settings,
            **vars(tally),
            "rollback_rate": tally.rolled_back / tally.readings if tally.readings else None,
            "alarm_rate": tally.alarms / tally.readings if tally.readings else None,
            "guard_range": None if limits is None else asdict(limits) | {"too_few_patients": limits.few},
            "guard_last": None if reading is None else _finite(reading.figures),
            "median_seconds_per_batch": round(seconds[len(seconds) // 2], 4) if seconds else None,
        }
        with atomic_path(self.path) as temporary:
            temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        if self.adapter.audit is not None:
            self.adapter.audit.write("finish", **vars(tally))
        logger.info(
            "%d batches, %d updates made, %d of them undone in %d roll-backs, %d skipped",
            tally.batches,
            tally.updates,
            tally.undone,
            tally.rolled_back,
            tally.skipped,
        )


def localized_flags(cases: Sequence[Any], adapt_on: str) -> Tensor | None:
    """Which cases the key ``adapt_on`` lets take part, bool [N]; None for ``all_test``."""
    if adapt_on == "all_test":
        return None
    if adapt_on == "boxed_only":
        return torch.tensor([case.localized for case in cases], dtype=torch.bool)
    raise ConfigError(f"adapt_on '{adapt_on}' is unknown: use 'all_test' or 'boxed_only'")


def _finite(figures: dict[str, float]) -> dict[str, float | None]:
    """JSON has no NaN."""
    return {name: value if math.isfinite(value) else None for name, value in figures.items()}


def _scores(output: ProxyOutput) -> Tensor:
    return output.logits.float().softmax(dim=1)[:, 1]
