"""A small world that is made up from a random state: three wikis, their edits, and what became of each of them.

The demo and the bench play it on a `SimulatedSource`. The same arguments give the same bytes: nothing here looks at a
clock. What the wikis' API answers changes with what has been played, as it does on the real ones.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from schemas.event import READABLE
from streams.eventstreams import DATACENTRES, SimulatedSource
from streams.wiki_pages import Wiki, siteinfo
from streams.world_maker import Announced, Answered, Entry, Maker, canary

__all__ = ["BEGIN_MS", "CANARY_EVERY_MS", "Announced", "Answered", "Entry", "Truth", "World", "build_world", "play"]

# 2026-01-05T12:00:00Z
BEGIN_MS = 1_767_614_400_000
CANARY_EVERY_MS = 500
TOPICS = tuple(f"{datacentre}.{stream}" for stream in READABLE for datacentre in DATACENTRES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What one edit really was.

    title: as it was then, in spaces. kind: good, vandalism, self_reverted, undo, repair, move or redirect.
    how: rollback, undo, manual, repair or deletion: how it was undone, or for an undo or a repair how it undid; else
    None. undone_after_ms and undone_by (a revision id): None where it was not undone; a deletion has no revision.
    """

    wiki: str
    rev_id: int
    title: str
    kind: str
    how: str | None
    undone_after_ms: int | None
    undone_by: int | None


class World:
    """Everything that happens, in the order of time, and the wikis as of the first `played` entries of it.

    edits: how many revisions page_change announces. end_ms: the last canary of the timeline, after its last event.
    """

    def __init__(self, wikis: list[Wiki], timeline: tuple[Entry, ...], truth: tuple[Truth, ...], begin_ms: int) -> None:
        self.timeline = timeline
        self.truth = truth
        self.begin_ms = begin_ms
        self.end_ms = timeline[-1].at_ms
        self.played = 0
        self._siteinfo = {wiki.domain: siteinfo(wiki) for wiki in wikis}
        self._answers: dict[tuple[str, int], list[tuple[int, Mapping[str, Any] | None]]] = {}
        for n, entry in enumerate(timeline):
            if isinstance(entry, Answered):
                self._answers.setdefault((entry.domain, entry.rev_id), []).append((n, entry.answer))

    @property
    def edits(self) -> int:
        return len(self.truth)

    def revision(self, domain: str, rev_id: int) -> Mapping[str, Any] | None:
        answers = self._answers.get((domain, rev_id), ())
        return next((answer for n, answer in reversed(answers) if n < self.played), None)

    def siteinfo(self, domain: str) -> Mapping[str, Any]:
        return self._siteinfo[domain]


def build_world(random_state: int, *, seconds: float = 30, rate: float = 6, begin_ms: int = BEGIN_MS) -> World:
    """Make a world up.

    seconds: of world time in which people edit; what is undone after them runs on, up to 25 s.
    rate: edits a second, undoing included.
    """
    random = Random(random_state)  # noqa: S311 - a made-up world needs repeatable numbers, not secret ones
    maker = Maker(random, seconds=seconds, rate=rate, begin_ms=begin_ms)
    maker.run()
    entries = maker.entries()
    last_ms = max(entries[-1].at_ms, begin_ms + round(seconds * 1000))
    beats = range(begin_ms, last_ms + CANARY_EVERY_MS, CANARY_EVERY_MS)
    entries += [canary(topic, at_ms) for at_ms in beats for topic in TOPICS]
    timeline = tuple(sorted(entries, key=lambda entry: entry.at_ms))
    truth = tuple(
        Truth(
            wiki=revision.page.wiki.name,
            rev_id=revision.rev_id,
            title=title,
            kind=revision.kind,
            how=revision.how,
            undone_after_ms=None if revision.undone_ms is None else revision.undone_ms - revision.at_ms,
            undone_by=revision.undone_by,
        )
        for revision, title in maker.saved
    )
    return World(maker.wikis, timeline, truth, begin_ms)


async def play(world: World, source: SimulatedSource, *, speed: float = 1.0, after_seconds: float = 20) -> None:
    """Let the world happen, from now, on a source whose `Wikis` it is; then canaries alone for a while.

    speed: how many times faster than world time; 0 = as fast as it goes, where a reader may ask the API late and find
    the world's end. after_seconds: of world time.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()

    async def due(at_ms: int) -> None:
        after = (at_ms - world.begin_ms) / 1000 / speed if speed else 0.0
        await asyncio.sleep(max(0.0, began + after - loop.time()) if speed else 0)

    for n, entry in enumerate(world.timeline):
        await due(entry.at_ms)
        world.played = n + 1
        if isinstance(entry, Announced):
            await source.append(entry.topic, entry.event)
    last_ms = world.end_ms + round(after_seconds * 1000)
    for at_ms in range(world.end_ms + CANARY_EVERY_MS, last_ms + 1, CANARY_EVERY_MS):
        await due(at_ms)
        for topic in TOPICS:
            await source.append(topic, canary(topic, at_ms).event)
