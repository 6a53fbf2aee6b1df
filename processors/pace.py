"""How often may be asked: the budget of all requests, that of retries, and the breaker of each source. Pure.

`now` is an argument, in seconds of any clock that does not go back.
"""

from __future__ import annotations

from collections import deque
from enum import StrEnum

# A hundredth is left to the difference between our clock and that of who counts.
RESERVE = 0.99
# What a retry may add to the requests that are asked for the first time, in all less than a tenth of them.
RETRY_SHARE = 0.05
RETRY_BURST = 15.0
RETRY_AT_LEAST_EVERY_SECONDS = 30.0
# Of so many results this share must have failed, before a source is left alone.
BREAKER_RESULTS = 20
BREAKER_LEAST = 10
BREAKER_FAILED = 0.8
BREAKER_SECONDS = 5.0
BREAKER_MOST_SECONDS = 60.0


class Budget:
    """Requests spaced evenly: `share` of `per_minute`, at least one a minute, no burst after a rest."""

    def __init__(self, per_minute: float) -> None:
        self._per_minute = per_minute
        self._next_at = float("-inf")
        self.share = 1.0

    def at(self, now: float) -> float:
        """When the next request may be made."""
        return max(now, self._next_at)

    def spend(self, now: float) -> None:
        self._next_at = self.at(now) + self._space

    def take(self, share: float, *, since: float) -> None:
        """The share is another `since` then; where it is larger another worker may have asked until then."""
        gained = share > self.share
        self.share = share
        if gained:
            self._next_at = max(self._next_at, since + self._space)

    @property
    def _space(self) -> float:
        return 60.0 / max(self._per_minute * self.share * RESERVE, 1.0)


class RetryBudget:
    """Requests for what was asked before: a twentieth of those for what was not, a burst, one in 30 s in any case.

    Without it a source that fails is asked more than one that works.
    """

    def __init__(self) -> None:
        self._tokens = RETRY_BURST
        self._last_at = float("-inf")

    def at(self, now: float) -> float:
        """When the next retry may be made, if nothing else is asked before."""
        return now if self._tokens >= 1 else max(now, self._last_at + RETRY_AT_LEAST_EVERY_SECONDS)

    def earn(self) -> None:
        self._tokens = min(RETRY_BURST, self._tokens + RETRY_SHARE)

    def spend(self, now: float) -> None:
        self._tokens = max(0.0, self._tokens - 1)
        self._last_at = now


class BreakerState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Breaker:
    """Leaves a source alone that fails: closed → open for 5 s → one request tries it → closed, or open for longer."""

    def __init__(self) -> None:
        self._results: deque[bool] = deque(maxlen=BREAKER_RESULTS)
        self._open_until = 0.0
        self._seconds = BREAKER_SECONDS
        self.state = BreakerState.CLOSED
        self._trying = False

    def at(self, now: float) -> float:
        """When the source may be asked; infinity while the one request that tries it is under way."""
        match self.state:
            case BreakerState.CLOSED:
                return now
            case BreakerState.OPEN:
                return max(now, self._open_until)
            case BreakerState.HALF_OPEN:
                return float("inf") if self._trying else now

    def ask(self) -> bool:
        """A request is made; True if it is the one that tries whether the source is back. `heard` must follow."""
        trial = self.state is not BreakerState.CLOSED
        if trial:
            self.state, self._trying = BreakerState.HALF_OPEN, True
        return trial

    def heard(self, *, ok: bool, now: float, trial: bool) -> None:
        """How it went. While the breaker is not closed only the trial counts: the others are from before."""
        if trial:
            self._tried(ok=ok, now=now)
        elif self.state is BreakerState.CLOSED:
            self._results.append(ok)
            failed = self._results.count(False)
            if len(self._results) >= BREAKER_LEAST and failed >= BREAKER_FAILED * len(self._results):
                self._open(now)

    def abandoned(self, *, trial: bool) -> None:
        """Nobody will hear how it went."""
        if trial:
            self._trying = False

    def _tried(self, *, ok: bool, now: float) -> None:
        self._trying = False
        if ok:
            self.state, self._seconds = BreakerState.CLOSED, BREAKER_SECONDS
        else:
            self._seconds = min(2 * self._seconds, BREAKER_MOST_SECONDS)
            self._open(now)

    def _open(self, now: float) -> None:
        self.state, self._open_until = BreakerState.OPEN, now + self._seconds
        self._results.clear()
