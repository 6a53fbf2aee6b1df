"""Captures: the log as a file, and the pure core over it, without a broker.

A capture is one JSON object per record of `sluice.source.v1`, in the order in which the broker stamped them:
`{"key", "kind", "offset", "partition", "timestamp_ms", "value"}`, value as text. `.gz` at the end of the name packs it.
A record that was erased stands where it was, as its skeleton, also while the broker still has both.

Beside it lies its manifest, `<file>.manifest.json`: sha256 and number of the records, how many of each kind and stream,
the offsets per partition and the upstream offsets up to which the file goes. What has no manifest, or not this one, is
not replayed: half a log decides otherwise than a whole one.
"""

from __future__ import annotations

import gzip
import hashlib
import heapq
import os
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import orjson
from aiokafka import AIOKafkaConsumer, TopicPartition

from processors.group import Group
from processors.shard import Shard, Unreadable
from schemas.log import KIND_EVENT, KIND_SKELETON, KIND_TICK
from streams.kafka import header, reading
from streams.settings import Settings
from streams.topics import Topics

VERSION = 1
PIECE_BYTES = 1 << 20
# Pages in use per partition; all others are bytes.
HOT_PAGES = 100_000


class InvalidCapture(ValueError):
    """A file that is no capture, or not the one that its manifest tells of; the message names the line if it can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """One record of the log."""

    partition: int
    offset: int
    kind: bytes
    value: bytes


async def capture(settings: Settings, path: Path) -> int:
    """Write everything that `sluice.source.v1` holds now to `path`, and its manifest; returns the number of records.

    Memory does not grow with the log. Neither file appears before it is whole.
    """
    topic = Topics(settings).source
    async with reading(settings) as reader:
        partitions = [TopicPartition(topic, partition) for partition in range(settings.partitions)]
        first, end = await reader.beginning_offsets(partitions), await reader.end_offsets(partitions)
    counted = _Counted({tp.partition: (first[tp], end[tp]) for tp in partitions})
    unfinished = path.with_name(f".unfinished.{path.name}")
    with _opened(unfinished, "wb") as file:
        async for record in _merged([_records(settings, tp, first[tp], end[tp]) for tp in partitions]):
            file.write(counted.line(record))
    manifest = unfinished.with_name(f"{unfinished.name}.manifest")
    manifest.write_bytes(counted.manifest(topic, _sha256(unfinished)))
    os.replace(manifest, manifest_path(path))
    os.replace(unfinished, path)
    return counted.records


def manifest_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.manifest.json")


def read_manifest(path: Path) -> Mapping[str, Any]:
    """The manifest of the capture at `path`. Raises `InvalidCapture` if there is none or the file is another one."""
    beside = manifest_path(path)
    try:
        manifest = orjson.loads(beside.read_bytes())
        version, digest = manifest["capture"], manifest["sha256"]
    except FileNotFoundError as exc:
        if not path.exists():
            raise
        raise InvalidCapture(f"{path} has no manifest {beside.name}: it is no capture, or not a whole one") from exc
    except (orjson.JSONDecodeError, KeyError, TypeError) as exc:
        raise InvalidCapture(f"{beside} is no manifest: {exc!r}") from exc
    if version != VERSION:
        raise InvalidCapture(f"{beside} is of version {version!r}; we read {VERSION}")
    if _sha256(path) != digest:
        raise InvalidCapture(f"{path} is not the file that {beside.name} tells of: its sha256 differs")
    return dict(manifest)


def read_capture(path: Path) -> Iterator[Captured]:
    """The records of a capture, in order. Raises `InvalidCapture` and `OSError`."""
    expected = read_manifest(path)["records"]
    number = 0
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
    if number != expected:
        raise InvalidCapture(f"{path} has {number} records; its manifest says {expected}")


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


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class _Placed:
    """One record where it belongs in the order of the log; compared by place alone, which is unique."""

    timestamp_ms: int
    partition: int
    offset: int
    key: bytes
    kind: bytes
    stream: bytes
    value: bytes


async def _records(settings: Settings, tp: TopicPartition, first: int, end: int) -> AsyncIterator[_Placed]:
    """The records of one partition in their places: read twice, since a skeleton lies behind what it stands for."""
    async with reading(settings) as reader:
        reader.assign([tp])
        erased: dict[int, _Placed] = {}
        async for record in _read(reader, tp, first, end):
            if header(record, "kind") == KIND_SKELETON:
                skeleton = _skeleton(record)
                erased[skeleton.offset] = skeleton
        waiting = sorted(erased)
        async for record in _read(reader, tp, first, end):
            while waiting and waiting[0] <= record.offset:
                yield erased[waiting.pop(0)]
            kind = header(record, "kind") or b""
            if record.offset not in erased and kind != KIND_SKELETON and record.value is not None:
                yield _placed(record, kind, record.timestamp, record.offset)


async def _read(reader: AIOKafkaConsumer, tp: TopicPartition, first: int, end: int) -> AsyncIterator[Any]:
    reader.seek(tp, first)
    while await reader.position(tp) < end:
        batch = await reader.getmany(tp, timeout_ms=1000)
        for record in batch.get(tp, ()):
            if record.offset < end:
                yield record


def _skeleton(record: Any) -> _Placed:
    """A skeleton in the place of what it stands for."""
    offset, _, timestamp_ms = (header(record, "place") or b"0:0").partition(b":")
    return _placed(record, KIND_EVENT, int(timestamp_ms), int(offset))


def _placed(record: Any, kind: bytes, timestamp_ms: int, offset: int) -> _Placed:
    return _Placed(
        timestamp_ms=timestamp_ms,
        partition=record.partition,
        offset=offset,
        key=record.key,
        kind=kind,
        stream=header(record, "stream") or b"",
        value=record.value,
    )


async def _merged(logs: list[AsyncIterator[_Placed]]) -> AsyncIterator[_Placed]:
    """All partitions as one, in the order in which the broker stamped the records."""
    heads: list[tuple[_Placed, int]] = []
    for number, log in enumerate(logs):
        async for record in log:
            heads.append((record, number))
            break
    heapq.heapify(heads)
    while heads:
        record, number = heads[0]
        yield record
        following = await anext(logs[number], None)
        if following is None:
            heapq.heappop(heads)
        else:
            heapq.heapreplace(heads, (following, number))


class _Counted:
    """What is written, counted for the manifest."""

    def __init__(self, offsets: Mapping[int, tuple[int, int]]) -> None:
        self._offsets = offsets
        self._kinds: Counter[str] = Counter()
        self._streams: Counter[str] = Counter()
        self._tick = b"{}"
        self.records = 0

    def line(self, record: _Placed) -> bytes:
        self.records += 1
        self._kinds[record.kind.decode()] += 1
        if record.kind == KIND_EVENT:
            self._streams[record.stream.decode()] += 1
        elif record.kind == KIND_TICK and record.partition == 0:
            self._tick = record.value
        doc = {
            "key": record.key.decode(),
            "kind": record.kind.decode(),
            "offset": record.offset,
            "partition": record.partition,
            "timestamp_ms": record.timestamp_ms,
            "value": record.value.decode(),
        }
        return orjson.dumps(doc, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)

    def manifest(self, topic: str, sha256: str) -> bytes:
        doc = {
            "capture": VERSION,
            "kinds": dict(self._kinds),
            "partitions": {str(p): {"first": first, "end": end} for p, (first, end) in self._offsets.items()},
            "records": self.records,
            "sha256": sha256,
            "streams": dict(self._streams),
            "topic": topic,
            "upstream": orjson.loads(self._tick).get("cursor", []),
        }
        return orjson.dumps(doc, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def _opened(path: Path, mode: str) -> IO[Any]:
    if path.suffix == ".gz":
        # Neither time nor name in the header: the same log gives the same file.
        return cast(IO[Any], _Gzip(path, mode))
    return path.open(mode)


class _Gzip(gzip.GzipFile):
    def __init__(self, path: Path, mode: str) -> None:
        self._file = path.open(mode)
        super().__init__("", mode, mtime=0, fileobj=self._file)

    def close(self) -> None:
        super().close()
        self._file.close()
