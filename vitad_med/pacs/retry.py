"""Trying again, with growing pauses, what fails because of the network or a busy archive."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

Result = TypeVar("Result")


class Transient(Exception):
    """What may work in a moment; the text says what went wrong, without anything of a patient.

    Attributes:
        wait: seconds that the archive asks for, or 0.
    """

    def __init__(self, what: str, wait: float = 0.0) -> None:
        super().__init__(what)
        self.wait = wait


@dataclass(frozen=True, slots=True)
class Backoff:
    """How often and when to try again.

    Attributes:
        attempts: in all.
        first: seconds before the second attempt; each later pause is twice as long.
        longest: seconds that no pause exceeds, even when the archive asks for more.
    """

    attempts: int = 6
    first: float = 1.0
    longest: float = 60.0

    def pause(self, failures: int) -> float:
        """Seconds to wait after so many failures, at least one."""
        return float(min(self.first * 2.0 ** min(failures - 1, 60), self.longest))

    def run(self, call: Callable[[], Result]) -> Result:
        """Call until it succeeds.

        Raises:
            Transient: that of the last attempt.
        """
        for failures in range(1, self.attempts):
            try:
                return call()
            except Transient as error:
                self.sleep(failures, error.wait)
        return call()

    def sleep(self, failures: int, asked: float = 0.0) -> None:
        """Wait after so many failures, or as long as the archive asks for, if that is longer."""
        time.sleep(min(max(self.pause(failures), asked), self.longest))
