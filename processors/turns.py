"""Whose turn it is to ask: the connections of a deployment go round its partitions by the clock. Pure.

Etiquette bounds what all workers ask together, and none knows what the others have under way. But all know the time,
and each partition is one worker's: so the k-th connection belongs to one partition at a time, and to whoever owns that.
However many workers there are, no more than the connections are in use, each worker has its partitions' share of them
on average, and one that owns all partitions has all of them at any time.

`now` is an argument, in seconds of any clock that does not go back.
"""

from __future__ import annotations

from collections.abc import Collection
from math import floor, gcd

# How long a turn is. Workers beyond the number of connections wait for it.
TURN_SECONDS = 60.0


class Turns:
    """The connections of one worker.

    owned: its partitions, of `partitions`. longest_seconds: that a request may take; none begins that could outlast
    the turn. ahead_seconds: what the clock that all workers share is ahead of the clock of `now`.
    """

    def __init__(
        self, partitions: int, connections: int, *, seconds: float = TURN_SECONDS, longest_seconds: float = 0.0
    ) -> None:
        self._partitions = partitions
        self._connections = connections
        self._seconds = seconds
        self._longest_seconds = longest_seconds
        # Coprime, so that neighbours' connections are of different workers, whether these own every n-th partition or
        # a range.
        self._stride = next(n for n in range(-(-partitions // connections), partitions + 2) if gcd(n, partitions) == 1)
        self.owned: Collection[int] = frozenset(range(partitions))
        self.ahead_seconds = 0.0

    def places(self, now: float) -> int:
        """How many requests may be under way once one more begins now."""
        turn, end = self._turn(now)
        places = self._count(turn)
        return places if now + self._longest_seconds <= end else min(places, self._count(turn + 1))

    def share(self, now: float) -> float:
        """Of all requests of the deployment those that are this worker's meanwhile, 0 to 1."""
        return self._count(self._turn(now)[0]) / self._connections

    def began_at(self, now: float) -> float:
        """When this turn began."""
        return self._turn(now)[1] - self._seconds

    def changes_at(self, now: float) -> float:
        """When `places` may be another; infinity if never."""
        if len(self.owned) in {0, self._partitions}:
            return float("inf")
        end = self._turn(now)[1]
        last = end - self._longest_seconds
        return last if now < last else end

    def _turn(self, now: float) -> tuple[int, float]:
        """Its number, and when it ends."""
        turn = floor((now + self.ahead_seconds) / self._seconds)
        return turn, (turn + 1) * self._seconds - self.ahead_seconds

    def _count(self, turn: int) -> int:
        return sum((turn + k * self._stride) % self._partitions in self.owned for k in range(self._connections))
