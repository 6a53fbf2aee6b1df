"""Where the pages of a shard are that are not in use, as bytes. The port, and the store in this process's memory."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol

from processors.digest import ref_number
from schemas.page import When

PageKey = tuple[str, int]


class Row(NamedTuple):
    """A page as a store keeps it: its bytes, and what follows from them."""

    value: bytes
    when: When = When()


class Store(Protocol):
    """Where pages are that are not in use."""

    def get(self, key: PageKey) -> bytes | None: ...

    def due(self, until_ms: int) -> Iterable[PageKey]:
        """The pages whose due time has come."""

    def named(self, ref: str) -> Iterable[PageKey]:
        """The pages that were written with this ref."""

    def write(self, rows: Mapping[PageKey, Row | None]) -> None:
        """Take in what changed; None = forgotten."""

    def every(self) -> Iterable[PageKey]: ...

    def count(self) -> int:
        """How many pages there are."""

    def pending(self) -> int:
        """(edit, policy) pairs that wait on them."""


class Memory:
    """A store in this process's memory."""

    def __init__(self) -> None:
        self._values: dict[PageKey, bytes] = {}
        self._due: list[tuple[int, PageKey]] = []
        # Those of which it was told that they are due: what does nothing by then is due still once it is not in use.
        self._told: list[tuple[int, PageKey]] = []
        self._refs: dict[int, set[PageKey]] = {}
        # When to look again, and (edit, policy) pairs that wait.
        self._waits: dict[PageKey, tuple[int | None, int]] = {}

    def get(self, key: PageKey) -> bytes | None:
        return self._values.get(key)

    def due(self, until_ms: int) -> Iterator[PageKey]:
        while self._due and self._due[0][0] <= until_ms:
            at_ms, key = heapq.heappop(self._due)
            if key in self._waits and self._waits[key][0] == at_ms:
                self._told.append((at_ms, key))
                yield key

    def named(self, ref: str) -> Iterable[PageKey]:
        return self._refs.get(ref_number(ref), ())

    def write(self, rows: Mapping[PageKey, Row | None]) -> None:
        for entry in self._told:
            if entry[1] not in rows:
                heapq.heappush(self._due, entry)
        self._told.clear()
        for key, row in rows.items():
            if row is None:
                self._values.pop(key, None)
                self._waits.pop(key, None)
                continue
            self._values[key] = row.value
            self._waits[key] = row.when.due_ms, row.when.pending
            if row.when.due_ms is not None:
                heapq.heappush(self._due, (row.when.due_ms, key))
            for ref in row.when.refs:
                self._refs.setdefault(ref, set()).add(key)

    def every(self) -> Iterable[PageKey]:
        return list(self._values)

    def count(self) -> int:
        return len(self._values)

    def pending(self) -> int:
        return sum(pending for _, pending in self._waits.values())
