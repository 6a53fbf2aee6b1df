"""What the server lost while we were away: the source says so, once, and the gate withholds what fell into it."""

from __future__ import annotations

import pytest
from conftest import MakeSettings, read_all
from sse_server import Fault, SseServer, canaries, page_change
from test_gate_step import run_until
from test_source import AT_MS, SINCE, Log, running, until

from schemas.decision import decode_decisions
from schemas.event import PAGE_CHANGE, RECENT_CHANGE, TAGS_CHANGE, VISIBILITY_CHANGE
from schemas.log import Gap, Policy, decode_control
from schemas.reasons import Bar, State
from streams.settings import Settings
from streams.topics import Topics

pytestmark = pytest.mark.kafka

STREAMS = (PAGE_CHANGE, TAGS_CHANGE, VISIBILITY_CHANGE, RECENT_CHANGE)
POLICIES = (Policy(name="live", hold_seconds=0), Policy(name="fast", hold_seconds=300))


@pytest.fixture
async def at(make_settings: MakeSettings, server: SseServer) -> Settings:
    return await make_settings(source=server.url, since=SINCE, tick_seconds=0.05, recentchange="all")


def gaps(log: Log) -> list[Gap]:
    """Of partition 0; those of the others are the same."""
    found = [[r.value for r in log.control if r.partition == p and r.key.startswith(b"control:gap:")] for p in range(3)]
    assert found[0] == found[1] == found[2]
    keys = [r.key for r in log.control if r.partition == 0]
    assert len(keys) == len(set(keys))
    read = [decode_control(value) for value in found[0]]
    assert all(isinstance(gap, Gap) for gap in read)
    return [gap for gap in read if isinstance(gap, Gap)]


def heard(log: Log, at_ms: int) -> bool:
    tick = log.last_tick()
    return tick is not None and min(tick.heard_ms.get(stream, -1) for stream in STREAMS) >= at_ms


async def lose(server: SseServer) -> None:
    """Everything the server has goes by its retention; it goes on with what came since."""
    old = len(server.messages)
    await server.add(*canaries(2, AT_MS + 400_000), page_change(3, AT_MS + 401_000, page=3))
    await server.add(*canaries(3, AT_MS + 2_000_000))
    del server.messages[:old]


async def heard_before(server: SseServer, settings: Settings) -> None:
    await server.add(*canaries(0, AT_MS), page_change(1, AT_MS + 1000, page=1), *canaries(1, AT_MS + 10_000))
    async with running(settings):
        await until(settings, lambda log: heard(log, AT_MS + 10_000))


async def decided(settings: Settings) -> dict[tuple[str, int], tuple[State, Bar | None]]:
    async def done() -> bool:
        return len(await found()) >= 4

    async def found() -> dict[tuple[str, int], tuple[State, Bar | None]]:
        records = await read_all(settings, Topics(settings).decisions)
        made = [d for r in records for d in decode_decisions(r.value)]
        assert len({(d.policy, d.rev_id, d.state) for d in made}) == len(made)
        return {(d.policy, d.rev_id): (d.state, d.reason) for d in made}

    await run_until(settings, done)
    return await found()


LOST = {Gap(from_ms=AT_MS + 10_000, to_ms=AT_MS + 400_000, stream=stream) for stream in STREAMS}
ENDS = {
    ("live", 1): (State.RELEASED, None),
    ("fast", 1): (State.WITHHELD, Bar.COVERAGE_GAP),
    ("live", 3): (State.RELEASED, None),
    ("fast", 3): (State.RELEASED, None),
}


async def test_a_span_that_the_server_lost_is_a_gap_on_every_partition_and_what_fell_into_it_is_withheld(server, at):
    settings = at.with_(policies=POLICIES)
    await heard_before(server, settings)
    await lose(server)
    async with running(settings):
        await until(settings, lambda log: heard(log, AT_MS + 2_000_000))
    # Neither a restart nor another rewind says it again.
    server.offset_base = 10**6
    async with running(settings):
        await server.add(*canaries(4, AT_MS + 2_100_000))
        log = await until(settings, lambda log: heard(log, AT_MS + 2_100_000))
    assert set(gaps(log)) == LOST
    assert len(gaps(log)) == 2 * len(STREAMS)  # of either datacentre
    # It stands before the first event behind it.
    first = min(r.offset for r in log.events if b'"rev_id":3' in r.value)
    partition = next(r.partition for r in log.events if b'"rev_id":3' in r.value)
    before = [r for r in log.control if r.partition == partition and r.offset < first]
    assert any(r.key.startswith(b"control:gap:eqiad.mediawiki.page_change") for r in before)
    assert await decided(settings) == ENDS


async def test_a_source_that_ends_between_the_rewind_and_the_first_message_says_it_when_it_is_back(server, at):
    settings = at.with_(policies=POLICIES)
    await heard_before(server, settings)
    await lose(server)
    # The first connection finds that its offsets are void; those after it bring nothing.
    server.faults = [Fault(after=1), *[Fault(status=503)] * 100]

    def rewound(log: Log) -> bool:
        tick = log.last_tick()
        return tick is not None and all(position.next_offset < 0 for position in tick.cursor)

    async with running(settings):
        await until(settings, rewound)
    server.faults = []
    async with running(settings):
        log = await until(settings, lambda log: heard(log, AT_MS + 2_000_000))
    assert set(gaps(log)) == LOST
    assert await decided(settings) == ENDS


async def test_where_the_server_still_has_everything_a_rewind_makes_no_gap(server, at):
    await heard_before(server, at)
    await server.add(*canaries(2, AT_MS + 400_000))
    server.offset_base = 10**6
    async with running(at):
        log = await until(at, lambda log: heard(log, AT_MS + 400_000))
    assert any(b"timestamp" in request.get("last-event-id", "").encode() for request in server.requests)
    assert gaps(log) == []
