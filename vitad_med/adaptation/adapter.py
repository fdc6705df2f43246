"""One update of the network on a batch of unlabelled test images, kept or taken back."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.optim import SGD

from vitad_med.adaptation.audit import AuditLog, batch_digest
from vitad_med.adaptation.guard import Guard, GuardReading
from vitad_med.adaptation.methods import Method
from vitad_med.adaptation.parameters import select_adapted
from vitad_med.adaptation.snapshot import Snapshot
from vitad_med.errors import ConfigError
from vitad_med.networks.proxy import ProxyNetwork
from vitad_med.networks.vit import patch_size, use_fused_attention
from vitad_med.outputs import ProxyOutput

GuardMode = Literal["rollback", "observe", "off"]
PLAIN_TOKENS = 256


@dataclass(frozen=True, slots=True)
class Step:
    """What one batch led to.

    Attributes:
        before: outputs of the batch as the model was when it came.
        after: outputs as the model is now; ``before`` itself where nothing was changed.
        loss: of the update, None without one.
        kept: False where the update was taken back.
        reason: why it was taken back, or would have been where the guard only observes; why there was none.
    """

    before: ProxyOutput
    after: ProxyOutput
    loss: float | None
    kept: bool
    reason: str | None


@dataclass
class Tally:
    """Counts over a run.

    Attributes:
        batches: seen.
        updates: made, kept or not.
        rolled_back: batches after which the model went back to the last approved state.
        undone: updates lost that way; more than ``rolled_back`` where the guard looks at several updates at once.
        alarms: readings outside the range, also where the guard only observes.
        readings: of the guard.
    """

    batches: int = 0
    updates: int = 0
    rolled_back: int = 0
    undone: int = 0
    alarms: int = 0
    readings: int = 0


class TestTimeAdapter:
    """Adapts a network batch by batch; the source model can be had back bit for bit at any time.

    SGD with momentum at a constant rate: the warm-up of training would freeze a short stream. An update is taken back
    when its loss or gradient is not finite, or when the guard's figures have left their range; parameters and momentum
    then return to the state that the guard last approved.

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
        self.parameters = select_adapted(network)
        self.optimizer = SGD(self.parameters.values(), lr=learning_rate, momentum=momentum)
        self._source = Snapshot(self.parameters.values(), self.optimizer)
        self._approved = Snapshot(self.parameters.values(), self.optimizer)
        self._unread = 0  # updates since the guard last looked
        self._device = network.mean.device
        self.guard_range = self.guard.calibrate(self.score) if self.guard is not None else None
        self.last_reading: GuardReading | None = None

    @torch.no_grad()
    def outputs(self, images: Tensor) -> ProxyOutput:
        """Outputs of images [B, C, H, W] in 0..1 as the model is now."""
        with self.autocast():
            return self.network.train_outputs(images)

    def score(self, images: Tensor) -> Tensor:
        """Image scores [B] of images [B, C, H, W] in 0..1, on any device."""
        return self.outputs(images.to(self._device)).logits.float().softmax(dim=1)[:, 1]

    def step(self, images: Tensor, chosen: Tensor | None = None, predict: bool = True) -> Step:
        """Adapt on a batch.

        Args:
            images: [B, C, H, W] in 0..1, at least one.
            chosen: bool [B], the images that the loss sees; all where None. Where none is chosen nothing changes.
            predict: False skips the outputs that only :class:`Step` needs; then ``after`` may be ``before``.
        """
        number = self.tally.batches
        self.tally.batches += 1
        seen = images if chosen is None else images[chosen]
        if self.method is None or len(seen) == 0:
            before = self.outputs(images)
            reason = None if self.method is None else "no image of this batch takes part"
            return self._done(number, images, before, before, None, None, True, reason)
        loss, before = self._gradient(self.method, seen, images, number, predict)
        norm = float(nn.utils.clip_grad_norm_(self.parameters.values(), self.clip_norm))
        reason = _not_finite(loss, norm)
        reading = None
        taken_back = 0
        kept = reason is None
        if reason is None:
            self.optimizer.step()
            self.tally.updates += 1
            self._unread += 1
            if self.guard is not None and self._unread >= self.guard_interval:
                reading, taken_back = self._ask(self.guard)
                reason = reading.reason
                kept = taken_back == 0
        self.tally.rolled_back += not kept
        # Taking back several updates leads behind the state that ``before`` is of.
        after = self.outputs(images) if predict and (kept or taken_back > 1) else before
        return self._done(number, images, before, after, loss, norm, kept, reason, reading)

    def _gradient(
        self, method: Method, seen: Tensor, images: Tensor, number: int, predict: bool
    ) -> tuple[float, ProxyOutput]:
        """Gradients of the loss, its value, and the outputs of the whole batch from before the update."""
        self.optimizer.zero_grad(set_to_none=True)
        # On a CPU fused attention's backward pass is the slower one at few tokens. At many, plain attention is, and it
        # keeps the N x N matrices of all blocks (benchmarks/adaptation.py).
        tokens = (images.shape[-2] // patch_size(self.network.encoder)) ** 2
        use_fused_attention(self.network.encoder, self._device.type != "cpu" or tokens > PLAIN_TOKENS)
        with torch.enable_grad():
            with self.autocast():
                loss, output = method.loss(self.network, seen, number)
            if torch.isfinite(loss):
                loss.backward()
        use_fused_attention(self.network.encoder, True)
        if output is None or len(seen) < len(images):
            output = self.outputs(images if predict else images[:1])
        return float(loss.detach()), ProxyOutput(*(part.detach() for part in output))

    def _ask(self, guard: Guard) -> tuple[GuardReading, int]:
        """What the guard reads of the updates since it last looked, and how many of them it took back: all or none."""
        reading = guard.read(self.score)
        self.last_reading = reading
        self.tally.readings += 1
        self.tally.alarms += reading.reason is not None
        taken_back = 0
        if reading.reason is None or self.guard_mode == "observe":
            self._approved.take()
        else:
            taken_back = self._unread
            self.tally.undone += taken_back
            self._approved.restore()
        self._unread = 0
        return reading, taken_back

    def _to_source(self) -> None:
        self._source.restore()
        self._approved.take()
        self._unread = 0

    def _done(
        self,
        number: int,
        images: Tensor,
        before: ProxyOutput,
        after: ProxyOutput,
        loss: float | None,
        norm: float | None,
        kept: bool,
        reason: str | None,
        reading: GuardReading | None = None,
    ) -> Step:
        if self.audit is not None:
            anomalous = int((before.logits.argmax(dim=1) == 1).sum())
            self.audit.step(
                step=number,
                batch=batch_digest(images),
                images=len(images),
                pseudo_classes=(len(before.logits) - anomalous, anomalous),
                loss=loss,
                gradient_norm=norm,
                kept=kept,
                guard=reading,
                reason=reason,
            )
        if self.episodic and self.method is not None:
            self._to_source()
        return Step(before, after, loss, kept, reason)

    def close(self) -> None:
        """Read the guard once more if updates were made since it last looked, and take them back if need be."""
        if self.guard is None or self._unread == 0:
            return
        reading, taken_back = self._ask(self.guard)
        self.tally.rolled_back += taken_back > 0
        if self.audit is not None:
            figures = {"auroc": reading.auroc, "mean_score": reading.mean_score}
            self.audit.write(
                "last_reading", guard=figures, decision="rolled_back" if taken_back else "kept", reason=reading.reason
            )

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
            "tally": vars(self.tally),
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
        self.tally = Tally(**state["tally"])


def _not_finite(loss: float, norm: float) -> str | None:
    if not math.isfinite(loss):
        return "the loss is not finite"
    if not math.isfinite(norm):
        return "the gradient is not finite"
    return None
