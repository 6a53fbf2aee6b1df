"""A simulated world that is made up from a random state, event by event: wikis, their edits, and what becomes of each.

`sluice world`, the demo, the bench and the tests play it on a `SimulatedSource`. The same arguments give the same
bytes: nothing here looks at a clock. It runs as far as it is asked to, and its wikis' APIs answer as of then.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from random import Random
from typing import Any, BinaryIO

from streams.eventstreams import SimulatedSource
from streams.ledger import Did, Ledger
from streams.wiki_events import SCHEMAS, canary
from streams.wiki_pages import Wiki
from streams.wiki_recent import row
from streams.wiki_siteinfo import siteinfo
from streams.world_maker import Maker
from streams.world_scene import Announced, Entry

# 2026-01-05T12:00:00Z
BEGIN_MS = 1_767_614_400_000
CANARY_EVERY_MS = 500
STREAMS = tuple(SCHEMAS)
# Things that happen between two looks at the loop, when the world is late or goes as fast as it can.
STEPS = 64
# The loop cannot sleep for less.
SHORTEST_WAIT_SECONDS = 0.001
# A world that goes as fast as it can waits for readers that are further behind.
AHEAD = 20_000
UNDOING = {"undo", "repair", "delete"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What one edit really was.

    title: as it was then, in spaces. kind: what the ledger calls it: good, create, vandalism, self_reverted, undo,
    repair, move, redirect, import or protect. how: of vandalism and of what was taken back, how it was undone
    (rollback, undo, manual, bot, repair or deletion), of an undo or a repair, how it undid; else None. undone_after_ms
    and undone_by (a revision id): None where it was not undone; a deletion has no revision.
    """

    wiki: str
    rev_id: int
    title: str
    kind: str
    how: str | None
    undone_after_ms: int | None
    undone_by: int | None


class World:
    """The wikis as of `now_ms`, and what is to come.

    end_ms: nothing happens after it. keeps_truth: remember what each edit was, which a run of days has no room for.
    """

    def __init__(
        self, maker: Maker, *, random_state: int, rate: float, canary_every_ms: int, keeps_truth: bool = True
    ) -> None:
        self._scene = maker.scene
        self.random_state = random_state
        self.rate = rate
        self.canary_every_ms = canary_every_ms
        self.begin_ms = maker.scene.begin_ms
        self.end_ms = maker.end_ms
        self.time_scale = maker.scene.time_scale
        self._keeps_truth = keeps_truth
        self._wikis: dict[str, Wiki] = {wiki.domain: wiki for wiki in maker.scene.wikis}
        self._truth: dict[tuple[str, int], tuple[int, Truth]] = {}

    @property
    def wikis(self) -> list[str]:
        return [wiki.name for wiki in self._wikis.values()]

    @property
    def now_ms(self) -> int:
        return self._scene.now

    @property
    def truth(self) -> tuple[Truth, ...]:
        """Of every revision so far, in the order in which they were saved."""
        return tuple(truth for _, truth in self._truth.values())

    def next_ms(self) -> int | None:
        """When the next thing happens; None = the world is at its end."""
        at_ms = self._scene.next_ms()
        return at_ms if at_ms is not None and at_ms <= self.end_ms else None

    def step(self) -> list[Entry]:
        """Let the next thing happen: what the streams say from now on, and what the ledger says of it."""
        entries = self._scene.step()
        if self._keeps_truth:
            for entry in entries:
                if isinstance(entry, Did):
                    self._learn(entry)
        return entries

    def _learn(self, act: Did) -> None:
        how = {"delete": "deletion", "repair": "repair"}.get(act.what, act.how and act.how.removeprefix("self "))
        if act.what in UNDOING or act.what == "vandalism":
            for rev_id in act.undoes:
                at_ms, known = self._truth.get((act.wiki, rev_id), (0, None))
                if known is not None and known.undone_after_ms is None:
                    after_ms = act.at_ms - at_ms
                    undone = replace(known, how=how, undone_after_ms=after_ms, undone_by=act.rev_id)
                    self._truth[act.wiki, rev_id] = (at_ms, undone)
        if act.rev_id is not None and (act.wiki, act.rev_id) not in self._truth:
            made = Truth(
                wiki=act.wiki,
                rev_id=act.rev_id,
                title=act.title,
                kind=act.what,
                how=how if act.what in UNDOING else None,
                undone_after_ms=None,
                undone_by=None,
            )
            self._truth[act.wiki, act.rev_id] = (act.at_ms, made)

    def ledger(self, file: BinaryIO) -> Ledger:
        """A ledger of this world, begun: it takes what will be offered and served. The caller closes the file."""
        ledger = Ledger(file)
        ledger.world(
            random_state=self.random_state,
            begin_ms=self.begin_ms,
            end_ms=self.end_ms,
            rate=self.rate,
            time_scale=self.time_scale,
            wikis=self.wikis,
        )
        return ledger

    # What the APIs answer.

    def revision(self, domain: str, rev_id: int) -> Mapping[str, Any] | None:
        wiki = self._wikis.get(domain)
        found = None if wiki is None else wiki.revisions.get(rev_id)
        return None if found is None else found.answer()

    def siteinfo(self, domain: str) -> Mapping[str, Any] | None:
        wiki = self._wikis.get(domain)
        return None if wiki is None else siteinfo(wiki)

    def recent(self, domain: str) -> Sequence[Mapping[str, Any]]:
        wiki = self._wikis.get(domain)
        rows = () if wiki is None else (row(recent) for recent in reversed(wiki.recent))
        return [each for each in rows if each is not None]


def build_world(
    random_state: int,
    *,
    seconds: float = 30,
    rate: float = 6,
    begin_ms: int = BEGIN_MS,
    wikis: int = 3,
    tail_seconds: float = 25,
    time_scale: float = 120,
    vandalism_percent: int = 18,
    canary_every_ms: int = CANARY_EVERY_MS,
    keeps_truth: bool = True,
) -> World:
    """Make a world up.

    seconds: of world time in which people edit; what they set off runs on for tail_seconds. rate: page changes a
    second, undoing included. time_scale: how many times quicker than on the real wikis everything else is: at 60 the
    curve of undoing has seconds for minutes. vandalism_percent: of the edits; on the real wikis 6.
    """
    maker = Maker(
        Random(random_state),  # noqa: S311 - a made-up world needs repeatable numbers, not secret ones
        wikis=wikis,
        seconds=seconds,
        tail_seconds=tail_seconds,
        rate=rate,
        begin_ms=begin_ms,
        time_scale=time_scale,
        vandalism_percent=vandalism_percent,
        canary_every_ms=canary_every_ms,
    )
    return World(maker, random_state=random_state, rate=rate, canary_every_ms=canary_every_ms, keeps_truth=keeps_truth)


async def play(world: World, source: SimulatedSource, *, speed: float = 1.0, after_seconds: float = 20) -> None:
    """Let the world happen, from now, on a source whose `Wikis` it is; then canaries alone for a while.

    speed: how many times faster than world time; 0 = as fast as it goes, where a reader may ask the API late and find
    the world's end. after_seconds: of world time.
    """
    ledger, pace = source.ledger, _Pace(source, world.begin_ms, speed)
    source.speed = source.api.speed = speed
    while (at_ms := world.next_ms()) is not None:
        await pace.due(at_ms)
        for entry in world.step():
            if isinstance(entry, Announced):
                await source.append(entry.topic, entry.event)
            elif ledger is not None:
                ledger.did(entry)
    last_ms = world.end_ms + round(after_seconds * 1000)
    await _canaries(source, pace, range(world.end_ms + CANARY_EVERY_MS, last_ms + 1, CANARY_EVERY_MS))


async def outlive(world: World, source: SimulatedSource, *, speed: float) -> None:
    """After the world's end canaries alone, for ever: time goes on for its readers, so that what waits falls due."""
    source.speed = source.api.speed = speed
    beats = count(world.end_ms + world.canary_every_ms, world.canary_every_ms)
    await _canaries(source, _Pace(source, world.end_ms, speed), beats)


async def _canaries(source: SimulatedSource, pace: _Pace, beats: Iterable[int]) -> None:
    for at_ms in beats:
        await pace.due(at_ms)
        for topic in source.topics:
            await source.append(topic, canary(topic, at_ms))


class _Pace:
    """World time from `begin_ms`, which is now, as fast as `speed` says."""

    def __init__(self, source: SimulatedSource, begin_ms: int, speed: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._source = source
        self._begin_ms = begin_ms
        self._speed = speed
        self._began = self._loop.time()
        self._steps = 0

    async def due(self, at_ms: int) -> None:
        """Returns at `at_ms`, at once if the world goes as fast as it can."""
        elapsed = (at_ms - self._begin_ms) / 1000
        wait = self._began + elapsed / self._speed - self._loop.time() if self._speed else 0.0
        if wait > SHORTEST_WAIT_SECONDS:
            await asyncio.sleep(wait)
        elif self._steps % STEPS == 0:
            await asyncio.sleep(0)
            await self._source.until_behind(AHEAD)
        self._steps += 1
        self._source.now_ms = at_ms
