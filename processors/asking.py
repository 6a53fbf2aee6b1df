"""What is asked next, of whom, and when: the batches, held against the budget, the breakers and the turns. Pure.

`now` is an argument, in seconds of any clock that does not go back.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from processors.batcher import Batch, Batcher
from processors.pace import Breaker, BreakerState, Budget
from processors.turns import Turns


class Asking:
    """breakers: one for each source; the first is asked where it can be. turns: who may ask at a time."""

    def __init__(self, batcher: Batcher, budget: Budget, breakers: Sequence[Breaker], turns: Turns) -> None:
        self.batcher = batcher
        self.budget = budget
        self.breakers = breakers
        self.turns = turns
        # What a turn gives is spaced from its begin, the first one too.
        self.budget.share = 0.0
        self._under_way = 0

    def own(self, partitions: Collection[int], now: float) -> None:
        """The worker's partitions are these from now on."""
        if partitions != self.turns.owned:
            self.turns.owned = partitions
            self.budget.take(self.turns.share(now), since=now)

    @property
    def away(self) -> bool:
        """No source answers, whatever is asked for."""
        return all(breaker.state is not BreakerState.CLOSED for breaker in self.breakers)

    def due_at(self, now: float) -> float:
        """When `take` may have something, if nothing is added and nothing heard before; infinity if never."""
        self.budget.take(self.turns.share(now), since=self.turns.began_at(now))
        if self._under_way >= self.turns.places(now):
            return self.turns.changes_at(now)
        source = min(breaker.at(now) for breaker in self.breakers)
        return max(self.batcher.due_at(now), self.budget.at(now), source)

    def take(self, now: float) -> Batch | None:
        """The next request, with the source to ask; None if it is not yet time. As late as can be: a batch grows
        while it waits for the budget. Must be followed by `succeeded`, `failed` or `abandoned`."""
        if self.due_at(now) > now or (batch := self.batcher.take(now)) is None:
            return None
        source = next(number for number, breaker in enumerate(self.breakers) if breaker.at(now) <= now)
        trial = self.breakers[source].ask()
        self.budget.spend(now)
        self._under_way += 1
        return replace(batch, source=source, trial=trial)

    def succeeded(self, batch: Batch, now: float) -> None:
        """The wiki answered."""
        self._under_way -= 1
        self.breakers[batch.source].heard(ok=True, now=now, trial=batch.trial)
        self.batcher.succeeded(batch)

    def failed(self, batch: Batch, now: float, *, jitter: float, retry_after_seconds: float | None) -> None:
        """It did not. See `Batcher.failed`."""
        self._under_way -= 1
        self.breakers[batch.source].heard(ok=False, now=now, trial=batch.trial)
        self.batcher.failed(batch, now, jitter=jitter, retry_after_seconds=retry_after_seconds)

    def abandoned(self, batch: Batch) -> None:
        """Nobody waits for the answer any more."""
        self._under_way -= 1
        self.breakers[batch.source].abandoned(trial=batch.trial)
        self.batcher.abandoned(batch)
