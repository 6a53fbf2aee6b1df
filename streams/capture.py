"""Captures: the log as a file, and the pure core over it, without a broker.

A capture is one JSON object per record of `sluice.source.v1`, in the order in which the broker stamped them:
`{"key", "kind", "offset", "partition", "timestamp_ms", "value"}`, value as text. `.gz` at the end of the name packs it.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import orjson

from processors.shard import Group, Shard, Unreadable
from streams.kafka import header, read_partition
from streams.settings import Settings
from streams.topics import Topics

# Pages in use per partition; all others are bytes.
HOT_PAGES = 100_000


class InvalidCapture(ValueError):
    """A file that is no capture; the message names the line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """One record of the log."""

    partition: int
    offset: int
    kind: bytes
    value: bytes


async def capture(settings: Settings, path: Path) -> int:
    """Write everything that `sluice.source.v1` holds now to `path`; returns the number of records."""
    topics = Topics(settings)
    records: list[Any] = []
    for partition in range(settings.partitions):
        records += await read_partition(settings, topics.source, partition)
    records = [record for record in records if record.value is not None]
    records.sort(key=lambda record: (record.timestamp, record.partition, record.offset))
    with _opened(path, "wb") as file:
        for record in records:
            doc = {
                "key": record.key.decode(),
                "kind": (header(record, "kind") or b"").decode(),
                "offset": record.offset,
                "partition": record.partition,
                "timestamp_ms": record.timestamp,
                "value": record.value.decode(),
            }
            file.write(orjson.dumps(doc, option=orjson.OPT_SORT_KEYS) + b"\n")
    return len(records)


def read_capture(path: Path) -> Iterator[Captured]:
    """The records of a capture, in order. Raises `InvalidCapture` and `OSError`."""
    with _opened(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                doc = orjson.loads(line)
                yield Captured(
                    partition=int(doc["partition"]),
                    offset=int(doc["offset"]),
                    kind=str(doc["kind"]).encode(),
                    value=str(doc["value"]).encode(),
                )
            except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as exc:
                raise InvalidCapture(f"{path}, line {number}: no captured record: {exc!r}") from exc


def replay(records: Iterable[Captured]) -> Iterator[tuple[Captured, list[Group] | Unreadable]]:
    """The core over a log: for each record the decisions it causes, or why it cannot be read.

    The end of the input is not the end of time: what is pending stays pending.
    """
    shards: dict[int, Shard] = {}
    for record in records:
        shard = shards.setdefault(record.partition, Shard())
        try:
            yield record, shard.apply(record.kind, record.value)
        except Unreadable as exc:
            yield record, exc
        if len(shard.hot) > HOT_PAGES:
            shard.flush(shard.changed())


def _opened(path: Path, mode: str) -> IO[Any]:
    if path.suffix == ".gz":
        # No time in the header: the same log gives the same file.
        return gzip.GzipFile(path, mode, mtime=0)  # type: ignore[return-value]
    return path.open(mode)
