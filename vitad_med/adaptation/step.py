"""What a batch led to, and what a run of them did."""

from __future__ import annotations

from dataclasses import dataclass

from vitad_med.adaptation.audit import Decision
from vitad_med.outputs import ProxyOutput


@dataclass(frozen=True, slots=True)
class Step:
    """What one batch led to.

    Attributes:
        before: outputs of the batch as the model was when it came; None where nobody asked and the loss made none.
        after: outputs as the model is now; ``before`` itself where nothing was changed.
        loss: of the update, None without one.
        decision: what became of the update.
        reason: why it was not kept, or would not have been where the guard only observes; why there was none.
    """

    before: ProxyOutput | None
    after: ProxyOutput | None
    loss: float | None
    decision: Decision
    reason: str | None


@dataclass
class Tally:
    """Counts over a run.

    Attributes:
        batches: seen.
        updates: made, kept or not.
        skipped: batches without an update, because loss or gradient was not finite.
        rolled_back: times that the model went back to the last approved state.
        undone: updates lost that way; more than ``rolled_back`` where the guard looks at several updates at once.
        alarms: readings outside the range, also where the guard only observes.
        readings: of the guard.
    """

    batches: int = 0
    updates: int = 0
    skipped: int = 0
    rolled_back: int = 0
    undone: int = 0
    alarms: int = 0
    readings: int = 0
