"""Which offset of a partition may be committed while its records are finished out of order."""

from __future__ import annotations


class LowWater:
    """The bookkeeping of one partition.

    position: the first offset that was not read yet. mark: the offset to commit; every record before it is done.
    """

    __slots__ = ("_in_flight", "position")

    def __init__(self, position: int) -> None:
        self.position = position
        # Offset → when the record was written, in the order of the log.
        self._in_flight: dict[int, int] = {}

    def __len__(self) -> int:
        """Records that were begun and are not done."""
        return len(self._in_flight)

    def begin(self, offset: int, at_ms: int) -> bool:
        """A record was read. False if it was read before: then it is not to be worked on again."""
        if offset < self.position:
            return False
        self._in_flight[offset] = at_ms
        self.position = offset + 1
        return True

    def done(self, offset: int) -> None:
        """What the record led to is safe with the broker. Raises `KeyError` if it was not begun, or done before."""
        del self._in_flight[offset]

    @property
    def mark(self) -> int:
        return next(iter(self._in_flight), self.position)

    @property
    def oldest_ms(self) -> int | None:
        """When the oldest record that is not done was written; None if all are done."""
        return next(iter(self._in_flight.values()), None)
