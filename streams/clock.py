"""The clock that ticks are written by, and whether it was set since we last looked."""

from __future__ import annotations

import time

# The network's clock is followed by less than a millisecond a second; a sleep or a hand moves it by more.
STEP_MS = 1000


def now_ms() -> int:
    """Unix milliseconds."""
    return time.time_ns() // 1_000_000


class Steps:
    """Holds the wall clock against the one that only ever runs on."""

    def __init__(self) -> None:
        self._ahead_ms = _ahead_ms()

    def stepped(self) -> bool:
        """Whether the wall clock was set, forwards or back, since the last call."""
        before, self._ahead_ms = self._ahead_ms, _ahead_ms()
        return abs(self._ahead_ms - before) > STEP_MS


def _ahead_ms() -> int:
    return now_ms() - time.monotonic_ns() // 1_000_000
