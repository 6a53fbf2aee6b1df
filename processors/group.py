"""What one input caused about one page: a record of `sluice.decisions.v1`. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from schemas.decision import Decision, Shared, encode_decisions


class Group(NamedTuple):
    """All decisions that one input caused about one page. cause: the event's id, or `tick-<number>`.

    made: those that were worked out, policy by policy; where policies share them (`processors.plans`), under the first
    one's name.
    """

    wiki: str
    page_id: int
    cause: str
    made: tuple[Decision, ...]
    shared: Shared | None = None

    @property
    def key(self) -> bytes:
        """The record's key on `sluice.decisions.v1`."""
        return f"{self.wiki}:{self.page_id}:{self.cause}".encode()

    @property
    def value(self) -> bytes:
        """The record."""
        return encode_decisions(self.made, self.shared)

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """One for each policy, in the order of the record."""
        if self.shared is None:
            return self.made
        every = [
            (place, number, name)
            for number, decision in enumerate(self.made)
            for place, name in self.shared[decision.policy]
        ]
        return tuple(self.made[number]._replace(policy=name) for _, number, name in sorted(every))

    def counts(self) -> Iterator[tuple[Decision, int]]:
        """What was worked out, and under how many policies."""
        for decision in self.made:
            yield decision, 1 if self.shared is None else len(self.shared[decision.policy])
