"""Plays the recording of a real MediaWiki and EventStreams: its bytes over SSE, its API answers as of that time.

Run alone as `python tests/recording.py --speed 30`: it prints the two settings that point sluice at it, and plays.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from schemas.event import READABLE, milliseconds, rfc3339
from streams.eventstreams import SimulatedSource
from streams.wiki_events import DATACENTRES

FOLDER = Path(__file__).parents[2] / "shared" / "data" / "recording"
WIKIS = {"en.wikipedia.org": "enwiki", "de.wikipedia.org": "dewiki"}
CANARY_EVERY_MS = 10_000
ABSENT = "the recording lies beside the repository only where sluice is developed"


def present() -> bool:
    return FOLDER.is_dir()


@dataclass(frozen=True, slots=True)
class Recorded:
    """One message: data is the exact bytes behind `data: `, arrived_s when the recorder had it (Unix seconds)."""

    topic: str
    offset: int
    at_ms: int
    arrived_s: float
    data: bytes

    @property
    def is_canary(self) -> bool:
        return bool(json.loads(self.data)["meta"]["domain"] == "canary")


@cache
def messages() -> tuple[Recorded, ...]:
    """The 3,110 messages in the order of the stream."""
    with gzip.open(FOLDER / "stream.sse.gz", "rb") as file:
        datas = [line[len(b"data: ") :].rstrip(b"\r\n") for line in file if line.startswith(b"data: ")]
    arrivals = [row["t"] for row in rows("arrivals.ndjson.gz")]
    made = []
    for data, arrived in zip(datas, arrivals, strict=True):
        meta = json.loads(data)["meta"]
        made.append(Recorded(meta["topic"], meta["offset"], milliseconds(meta["dt"]), arrived, data))
    return tuple(made)


def rows(name: str) -> Iterator[dict[str, Any]]:
    path = FOLDER / name
    text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    for line in text.splitlines():
        yield json.loads(line)


def vandal_revisions() -> list[dict[str, Any]]:
    """The revisions that the script labelled vandalism, from the ledger: the truth."""
    return [row for row in rows("vandalism.ndjson") if row.get("label") == "vandalism"]


class Answers:
    """The recorded API: what it said about each revision, and from when. `now_s` is the time that is played.

    frozen: every answer is the first one, whenever it is asked, so that two runs can be compared.
    """

    def __init__(self, *, frozen: bool = False) -> None:
        self.now_s = float("-inf")
        self._known: dict[tuple[str, int], list[tuple[float, dict[str, Any] | None]]] = {}
        for domain, wiki in WIKIS.items():
            for row in rows(f"api/{wiki}/revisions.ndjson.gz"):
                self._known[domain, row["revid"]] = [(float("-inf"), _answer(row))]
            if not frozen:
                self._later(domain, wiki)

    def _later(self, domain: str, wiki: str) -> None:
        changes = [(row["fetched_at"], row["revid"], row) for row in rows(f"api/{wiki}/revisions_changed.ndjson")]
        changes += [(row["fetched_at"], row["revid"], row) for row in rows(f"api/{wiki}/revisions_final.ndjson.gz")]
        for row in rows(f"ledger.{wiki}.jsonl"):
            # A deletion takes every revision of the page along; only its last one was asked for again.
            if row["op"] == "delete":
                changes += [(row["t"], rev_id, {"missing": True}) for rev_id in row.get("revids") or ()]
            elif row["op"] == "undelete":
                changes += [(row["t"], rev_id, {"back": True}) for rev_id in row.get("revids") or ()]
        for at, rev_id, row in sorted(changes, key=lambda change: change[:2]):
            history = self._known.setdefault((domain, rev_id), [])
            texts = [answer for _, answer in history if answer is not None]
            if "back" in row:
                history.append((at, texts[-1] if texts else None))
            else:
                history.append((at, None if row.get("missing") else _with_text(_answer(row), texts)))

    def revision(self, domain: str, rev_id: int) -> Mapping[str, Any] | None:
        found = None
        for at, answer in self._known.get((domain, rev_id), ()):
            if at <= self.now_s or at == float("-inf"):
                found = answer
        return found

    def all(self) -> Iterator[tuple[str, int, dict[str, Any] | None]]:
        """(domain, revision, answer) of every answer at any time."""
        for (domain, rev_id), history in self._known.items():
            for _, answer in history:
                yield domain, rev_id, answer

    def siteinfo(self, domain: str) -> Mapping[str, Any]:
        return dict(json.loads((FOLDER / "api" / WIKIS[domain] / "siteinfo.json").read_text("utf-8"))["query"])


def _answer(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("pageid", "ns", "title", "revision")}


def _with_text(answer: dict[str, Any], earlier: list[dict[str, Any]]) -> dict[str, Any]:
    """An answer that was asked without content keeps the content known before, unless the text is hidden."""
    revision = answer["revision"]
    main = revision.get("slots", {}).get("main", {})
    before = next((known["revision"]["slots"]["main"] for known in reversed(earlier)), {})
    if "content" in main or main.get("texthidden") or "content" not in before:
        return answer
    main = before | main | {"content": before["content"]}
    return answer | {"revision": revision | {"slots": revision["slots"] | {"main": main}}}


class Playing:
    """The recording being served: `async with Playing(speed=30) as playing`, then `await playing.play()`.

    speed: how many times faster than recorded; 0 = as fast as it goes.
    """

    def __init__(self, *, speed: float = 0, frozen: bool = False, port: int = 0) -> None:
        self.answers = Answers(frozen=frozen)
        self.source = SimulatedSource(self.answers, streams=READABLE)
        self._speed = speed
        self._port = port

    async def __aenter__(self) -> Playing:
        await self.source.start(port=self._port)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.source.stop()

    async def play(self, *, after_seconds: float = 600) -> None:
        """Serve every message in its time, then canaries for `after_seconds` of event time."""
        recorded = messages()
        loop = asyncio.get_running_loop()
        began, first = loop.time(), recorded[0].arrived_s
        for message in recorded:
            await self._until(loop, began, message.arrived_s - first)
            self.answers.now_s = message.arrived_s
            await self.source.append_bytes(message.topic, message.at_ms, message.data, offset=message.offset)
        last = recorded[-1]
        self.answers.now_s = float("inf")
        for n in range(1, round(after_seconds * 1000 / CANARY_EVERY_MS) + 1):
            at_ms = last.at_ms + n * CANARY_EVERY_MS
            await self._until(loop, began, last.arrived_s - first + n * CANARY_EVERY_MS / 1000)
            for topic in self.source.topics:
                await self.source.append(topic, canary(topic, at_ms))

    async def _until(self, loop: asyncio.AbstractEventLoop, began: float, seconds: float) -> None:
        if self._speed:
            await asyncio.sleep(max(0.0, began + seconds / self._speed - loop.time()))


@cache
def _canaries() -> dict[str, dict[str, Any]]:
    made: dict[str, dict[str, Any]] = {}
    for message in messages():
        if message.is_canary:
            made.setdefault(message.topic.partition(".")[2], json.loads(message.data))
    return made


def canary(topic: str, at_ms: int) -> dict[str, Any]:
    """A canary like the recorded ones, of another time."""
    event = _canaries()[topic.partition(".")[2]]
    name = str(uuid.uuid5(uuid.NAMESPACE_URL, f"{topic} {at_ms}"))
    return event | {"meta": event["meta"] | {"id": name, "dt": rfc3339(at_ms)}}


def canaries_after(after_seconds: float = 600) -> list[Recorded]:
    """What `Playing.play` serves after the recording, as it is served."""
    last = messages()[-1]
    topics = [f"{datacentre}.{stream}" for stream in READABLE for datacentre in DATACENTRES]
    offsets = {message.topic: message.offset + 1 for message in messages()}
    made = []
    for n in range(1, round(after_seconds * 1000 / CANARY_EVERY_MS) + 1):
        at_ms = last.at_ms + n * CANARY_EVERY_MS
        for topic in topics:
            event = canary(topic, at_ms)
            offset, offsets[topic] = offsets.get(topic, 0), offsets.get(topic, 0) + 1
            event |= {"meta": event["meta"] | {"topic": topic, "partition": 0, "offset": offset}}
            made.append(Recorded(topic, offset, at_ms, 0.0, orjson.dumps(event)))
    return made


def first_ms() -> int:
    return min(message.at_ms for message in messages())


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--speed", type=float, default=10)
    parser.add_argument("--frozen", action="store_true")
    arguments = parser.parse_args()
    async with Playing(speed=arguments.speed, frozen=arguments.frozen, port=arguments.port) as playing:
        settings = {"SLUICE_SOURCE": playing.source.url, "SLUICE_CONTENT": playing.source.content}
        print(orjson.dumps(settings).decode(), flush=True)
        await playing.play()
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
