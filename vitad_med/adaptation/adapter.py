"""One update of the network on a batch of unlabelled test images, kept or taken back."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.optim import SGD

from vitad_med.adaptation.audit import AuditLog, Decision, batch_digest
from vitad_med.adaptation.guard import Guard, GuardReading
from vitad_med.adaptation.methods import Method
from vitad_med.adaptation.parameters import select_adapted
from vitad_med.adaptation.snapshot import Snapshot
from vitad_med.adaptation.step import Step, Tally
from vitad_med.errors import ConfigError
from vitad_med.networks.proxy import ProxyNetwork
from vitad_med.networks.vit import attention_kernel, patch_size
from vitad_med.outputs import ProxyOutput

GuardMode = Literal["rollback", "observe", "off"]
PLAIN_TOKENS = 256


class TestTimeAdapter:
    """Adapts a network batch by batch; the source model can be had back bit for bit at any time.

    SGD with momentum at a constant rate: the warm-up of training would freeze a short stream. Where loss or gradient is
    not finite there is no update. Then, and when the guard's figures have left their range, parameters and momentum
    return to the state that the guard last approved.

    Args:
        network: changed in place; only :func:`~vitad_med.adaptation.parameters.select_adapted` parameters learn.
        method: what is minimised; None changes nothing.
        learning_rate: constant.
        momentum: of SGD.
        clip_norm: largest gradient norm.
        guard: held images, calibrated here on the source model; None for no guard.
        guard_mode: ``rollback`` takes updates back, ``observe`` only writes what the guard would do.
        guard_interval: updates between two readings.
        episodic: return to the source model after each batch.
        audit: where every batch leaves a line.
        autocast: context of all forward passes.

    Attributes:
        guard_range: of the guard, None without one.
        approved_reading: the guard's figures of the state that a roll-back returns to; after :meth:`close` those of the
            model as it is.
    """

    __test__ = False  # pytest: not a test class, whatever its name begins with

    def __init__(
        self,
        network: ProxyNetwork,
        method: Method | None,
        *,
        learning_rate: float = 5e-4,
        momentum: float = 0.9,
        clip_norm: float = 1.0,
        guard: Guard | None = None,
        guard_mode: GuardMode = "rollback",
        guard_interval: int = 1,
        episodic: bool = False,
        audit: AuditLog | None = None,
        autocast: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        if guard_mode not in get_args(GuardMode):
            raise ConfigError(f"guard '{guard_mode}' is unknown: use {', '.join(map(repr, get_args(GuardMode)))}")
        if guard_interval < 1:
            raise ConfigError(f"guard_interval {guard_interval} must be at least 1")
        self.network = network
        self.method = method
        self.clip_norm = clip_norm
        self.guard = None if guard_mode == "off" or method is None else guard
        self.guard_mode = guard_mode
        self.guard_interval = guard_interval
        self.episodic = episodic
        self.audit = audit
        self.autocast = autocast
        self.tally = Tally()
        self._learned = {parameter: parameter.requires_grad for parameter in network.parameters()}
        self.parameters = select_adapted(network)
        self.optimizer = SGD(self.parameters.values(), lr=learning_rate, momentum=momentum)
        self._source = Snapshot(self.parameters.values(), self.optimizer)
        self._approved = Snapshot(self.parameters.values(), self.optimizer)
        self._unread = 0  # updates that the guard has not seen and a roll-back would undo
        self._since = 0  # updates since the guard last looked, undone ones included
        self._device = network.mean.device
        self.guard_range = self.guard.calibrate(self.score) if self.guard is not None else None
        found = self.guard_range
        self._source_reading = None if found is None else GuardReading(found.auroc, found.mean_score, None)
        self.approved_reading = self._source_reading

    @torch.no_grad()
    def outputs(self, images: Tensor) -> ProxyOutput:
        """Outputs of images [B, C, H, W] in 0..1 as the model is now."""
        with self.autocast():
            return self.network.train_outputs(images)

    def score(self, images: Tensor) -> Tensor:
        """Image scores [B] of images [B, C, H, W] in 0..1, on any device."""
        return self.outputs(images.to(self._device)).logits.float().softmax(dim=1)[:, 1]

    def step(
        self, images: Tensor, chosen: Tensor | None = None, predict: bool = True, digest: str | None = None
    ) -> Step:
        """Adapt on a batch.

        Args:
            images: [B, C, H, W] in 0..1, at least one.
            chosen: bool [B], the images that the loss sees; all where None. Where none is chosen nothing changes.
            predict: False skips the outputs that only :class:`Step` needs.
            digest: :func:`~vitad_med.adaptation.audit.batch_digest` of the images, where the caller has it.
        """
        number = self.tally.batches
        self.tally.batches += 1
        record = partial(self._done, number, images, digest)
        seen = images if chosen is None else images[chosen]
        if self.method is None or len(seen) == 0:
            same = self.outputs(images)
            return record(same, same, None, None, "kept", "no image of this batch takes part" if self.method else None)
        loss, before = self._gradient(self.method, seen, images, number, predict)
        norm = float(nn.utils.clip_grad_norm_(self.parameters.values(), self.clip_norm))
        if reason := _not_finite(loss, norm):
            self.tally.skipped += 1
            lost = self._take_back() if self.guard is not None and self.guard_mode == "rollback" else 0
            after = self.outputs(images) if predict and lost else before
            return record(before, after, loss, norm, "rolled_back" if lost else "skipped", reason)
        self.optimizer.step()
        self.tally.updates += 1
        self._unread += 1
        self._since += 1
        reading, lost = None, 0
        if self.guard is not None and self._since >= self.guard_interval:
            reading, lost = self._ask(self.guard)
        # Taking back several updates leads behind the state that ``before`` is of.
        after = self.outputs(images) if predict and lost != 1 else before
        decision: Decision = "rolled_back" if lost else "kept"
        return record(before, after, loss, norm, decision, reading.reason if reading else None, reading)

    def _gradient(
        self, method: Method, seen: Tensor, images: Tensor, number: int, predict: bool
    ) -> tuple[float, ProxyOutput | None]:
        """Gradients of the loss, its value, and the outputs of the whole batch from before the update."""
        self.optimizer.zero_grad(set_to_none=True)
        # On a CPU fused attention's backward pass is the slower one at few tokens. At many, plain attention is, and it
        # keeps the N x N matrices of all blocks (benchmarks/adaptation.py).
        tokens = (images.shape[-2] // patch_size(self.network.encoder)) ** 2
        fused = self._device.type != "cpu" or tokens > PLAIN_TOKENS
        with attention_kernel(self.network.encoder, fused), torch.enable_grad():
            with self.autocast():
                loss, output = method.loss(self.network, seen, number)
            if torch.isfinite(loss):
                loss.backward()
        if output is None or len(seen) < len(images):
            output = self.outputs(images) if predict else None
        return float(loss.detach()), output and ProxyOutput(*(part.detach() for part in output))

    def _take_back(self) -> int:
        """Return to the last approved state; how many updates that undoes."""
        lost, self._unread = self._unread, 0
        if lost:
            self._approved.restore()
            self.tally.rolled_back += 1
            self.tally.undone += lost
        return lost

    def _ask(self, guard: Guard) -> tuple[GuardReading, int]:
        """What the guard reads of the updates since it last looked, and how many of them it took back: all or none."""
        reading = guard.read(self.score)
        self._since = 0
        self.tally.readings += 1
        self.tally.alarms += reading.reason is not None
        if reading.reason is not None and self.guard_mode != "observe":
            return reading, self._take_back()
        self._approved.take()
        self.approved_reading = reading
        self._unread = 0
        return reading, 0

    def _to_source(self) -> None:
        self._source.restore()
        self._approved.take()
        self.approved_reading = self._source_reading
        self._unread = 0

    def _done(
        self,
        number: int,
        images: Tensor,
        digest: str | None,
        before: ProxyOutput | None,
        after: ProxyOutput | None,
        loss: float | None,
        norm: float | None,
        decision: Decision,
        reason: str | None,
        reading: GuardReading | None = None,
    ) -> Step:
        if self.audit is not None:
            self.audit.step(
                step=number,
                batch=batch_digest(images) if digest is None else digest,
                images=len(images),
                pseudo_classes=None if before is None else _pseudo_classes(before),
                loss=loss,
                gradient_norm=norm,
                decision=decision,
                guard=reading,
                reason=reason,
            )
        if self.episodic and self.method is not None:
            self._to_source()
        return Step(before, after, loss, decision, reason)

    def close(self) -> None:
        """End of the stream: read the guard once more if updates were made since it last looked, and take them back if
        need be; let those parameters learn again that could before."""
        if self.guard is not None and self._unread:
            reading, lost = self._ask(self.guard)
            if self.audit is not None:
                self.audit.last_reading(reading, "rolled_back" if lost else "kept")
        for parameter, learned in self._learned.items():
            parameter.requires_grad_(learned)

    def reset(self) -> None:
        """Restore the source model bit for bit and forget the momentum."""
        self._to_source()
        if self.audit is not None:
            self.audit.write("reset")

    def state_dict(self) -> dict[str, Any]:
        """All that a later process needs to go on: adapted parameters, momentum, the approved state, counts."""
        state = {
            "parameters": {name: value.detach() for name, value in self.parameters.items()},
            "optimizer": self.optimizer.state_dict(),
            "approved": self._approved.state_dict(),
            "unread": self._unread,
            "since": self._since,
            "tally": vars(self.tally),
            "approved_reading": None if self.approved_reading is None else asdict(self.approved_reading),
        }
        return copy.deepcopy(state)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what :meth:`state_dict` gave; the source model stays what it was at construction."""
        with torch.no_grad():
            for name, value in self.parameters.items():
                value.copy_(state["parameters"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        self._approved.load_state_dict(state["approved"])
        self._unread = int(state["unread"])
        self._since = int(state["since"])
        self.tally = Tally(**state["tally"])
        reading = state["approved_reading"]
        self.approved_reading = None if reading is None else GuardReading(**reading)


def _pseudo_classes(output: ProxyOutput) -> tuple[int, int]:
    """How many images the model takes for normal and for anomalous."""
    anomalous = int((output.logits.argmax(dim=1) == 1).sum())
    return len(output.logits) - anomalous, anomalous


def _not_finite(loss: float, norm: float) -> str | None:
    if not math.isfinite(loss):
        return "the loss is not finite"
    if not math.isfinite(norm):
        return "the gradient is not finite"
    return None
