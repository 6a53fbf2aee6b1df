"""The supervised connection, against a server that ends its responses in every way there is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise
from typing import Any

import orjson
import pytest
from conftest import shared_data
from sse_server import Fault, SseServer, canaries, page_change, recent_change

from processors.cursor import Cursor
from schemas.event import PAGE_CHANGE, TAGS_CHANGE, TOPIC_PREDICTION, VISIBILITY_CHANGE, InvalidEvent
from schemas.log import Position
from schemas.policy import Match, Policy, Rule
from schemas.reasons import SetAside
from streams import endpoints, metrics, sse
from streams.clock import now_ms
from streams.endpoints import Choice, Endpoints
from streams.inbox import Closed, Item, Message, Named, Opened
from streams.settings import InvalidSetting, Settings
from streams.sse import Subscription, check_source, retry_after_seconds

EDITS = f"eqiad.{PAGE_CHANGE}"
BEGIN_MS = 1_700_000_000_000
FAR_AHEAD = 5_000_000


@pytest.fixture(autouse=True)
def _haste(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "REFUSED_SECONDS", 0.01)


@pytest.fixture
async def server() -> AsyncIterator[SseServer]:
    async with SseServer().running() as running:
        yield running


class Heard:
    """What was put, and somewhere to wait for it."""

    def __init__(self) -> None:
        self.items: list[Item] = []
        self._came = asyncio.Condition()

    async def put(self, item: Item) -> None:
        async with self._came:
            self.items.append(item)
            self._came.notify_all()

    async def until(self, enough: Callable[[], bool]) -> None:
        async with self._came, asyncio.timeout(30):
            await self._came.wait_for(enough)

    @property
    def messages(self) -> list[Message]:
        return [item for item in self.items if isinstance(item, Message)]

    @property
    def ids(self) -> list[str]:
        return [each.read.meta.event_id for each in self.messages if not isinstance(each.read, InvalidEvent)]

    @property
    def ends(self) -> list[str]:
        return [item.reason for item in self.items if isinstance(item, Closed)]


@asynccontextmanager
async def following(server: SseServer, cursor: Cursor | None = None, **changes: Any) -> AsyncIterator[Heard]:
    settings = Settings(source=server.url, tick_seconds=0.001).with_(**changes)
    heard = Heard()
    subscription = Subscription(settings, cursor if cursor is not None else Cursor(), begin_ms=BEGIN_MS)
    task = asyncio.create_task(subscription.follow(heard.put))
    try:
        yield heard
    finally:
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.result()


def edits(count: int) -> list[dict[str, Any]]:
    """Some of them in the same millisecond, as in the source."""
    return [page_change(n, BEGIN_MS + n // 3) for n in range(count)]


def ids(docs: list[dict[str, Any]]) -> list[str]:
    return [doc["meta"]["id"] for doc in docs]


@pytest.mark.parametrize("how", ["eof", "rst", "torn", "torn-rst", "error"])
async def test_however_connections_end_each_message_comes_once_and_in_order(server: SseServer, how: str) -> None:
    docs = edits(40)
    await server.add(*docs)
    server.faults = [Fault(after=n, how=how) for n in (1, 3, 7, 2, 5, 1, 1)]
    async with following(server) as heard:
        await heard.until(lambda: len(heard.ids) == 40)
    assert heard.ids == ids(docs)
    assert set(heard.ends) <= {"eof": {"end"}, "torn": {"end"}, "error": {"error_event"}}.get(how, {"cut"})
    assert len(heard.ends) == 7


async def test_a_hundred_connections_of_one_message_each_lose_nothing(server: SseServer) -> None:
    docs = edits(100)
    await server.add(*docs)
    server.faults = [Fault(after=1, how=("eof", "rst", "torn")[n % 3]) for n in range(99)]
    async with following(server) as heard:
        await heard.until(lambda: len(heard.ids) == 100)
    assert heard.ids == ids(docs)


async def test_the_bytes_of_a_message_are_unchanged() -> None:
    lines = (shared_data() / "events" / "sse" / "page_change.sse").read_bytes().splitlines()
    sent = [line.removeprefix(b"data:").strip() for line in lines if line.startswith(b"data:")]
    async with SseServer().running() as server:
        await server.add(*sent, topic=EDITS)
        async with following(server, Cursor([place(0, 0)])) as heard:
            await heard.until(lambda: len(heard.messages) == len(sent))
    assert [message.data for message in heard.messages] == sent


def place(offset: int, at_ms: int = BEGIN_MS) -> Position:
    return Position(topic=EDITS, partition=0, next_offset=offset, at_ms=at_ms)


async def test_a_first_start_asks_for_what_came_since_its_beginning(server: SseServer) -> None:
    await server.add(page_change(1, BEGIN_MS - 1), page_change(2, BEGIN_MS))
    async with following(server) as heard:
        await heard.until(lambda: len(heard.ids) == 1)
    assert heard.ids == [f"{PAGE_CHANGE}-eqiad-2"]
    assert "last-event-id" not in server.requests[0]
    streams = "mediawiki.page_change.v1,mediawiki.revision-tags-change"
    assert server.requests[0]["target"].startswith(f"/v2/stream/{streams}")


async def test_a_reconnection_names_every_topic_by_offset_or_time_and_says_who_we_are(server: SseServer) -> None:
    await server.add(*edits(2))
    server.faults = [Fault(after=1)]
    async with following(server, contact="mailto:a@example.org") as heard:
        await heard.until(lambda: len(heard.ids) == 2)
    entries = {entry["topic"]: entry for entry in orjson.loads(server.requests[1]["last-event-id"])}
    followed = [f"{dc}.{stream}" for dc in ("eqiad", "codfw") for stream in Settings().streams]
    assert set(entries) == set(followed)
    assert entries[EDITS] == {"topic": EDITS, "partition": 0, "offset": 0}  # the last message, to be known by its id
    assert entries[f"codfw.{PAGE_CHANGE}"]["timestamp"] == BEGIN_MS - 60_000
    assert server.requests[1]["user-agent"] == "sluice/0.1 (mailto:a@example.org) aiohttp"


async def test_topic_predictions_are_followed_if_a_policy_asks_for_topics(server: SseServer) -> None:
    await server.add(*edits(1))
    by_topic = Policy(name="people", rules=(Rule(hold_seconds=60, match=Match(topic=("Culture.Biography*",))),))
    for policies in ((by_topic,), (Policy(name="live"),)):
        async with following(server, policies=policies) as heard:
            await heard.until(lambda: len(heard.ids) == 1)
    asked = [TOPIC_PREDICTION in request["target"] for request in server.requests]
    assert asked == [True, False]


async def test_what_the_idle_datacentre_says_while_we_are_away_is_not_lost(server: SseServer) -> None:
    await server.add(*edits(1))
    server.faults = [Fault(after=1)]
    async with following(server) as heard:
        await heard.until(lambda: len(heard.ids) == 1)
        await server.add(page_change(9, BEGIN_MS + 9, datacentre="codfw"))
        await heard.until(lambda: len(heard.ids) == 2)
    assert heard.ids[1] == f"{PAGE_CHANGE}-codfw-9"


async def test_a_silent_connection_is_given_up_after_the_idle_time(server: SseServer) -> None:
    await server.add(*edits(3))
    server.faults = [Fault(after=2, how="stall")]
    async with following(server, idle_seconds=0.5) as heard:
        await heard.until(lambda: len(heard.ids) == 3)
    assert heard.ends[0] == "idle"


async def test_a_connection_is_made_anew_before_the_source_would_cut_it(
    server: SseServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "MAX_AGE_SECONDS", 0.3)
    await server.add(*edits(3))
    server.faults = [Fault(after=2, how="stall")]
    async with following(server) as heard:
        await heard.until(lambda: len(heard.ids) == 3)
    assert heard.ends[0] == "age"


async def test_every_end_of_a_connection_is_told_and_counted(server: SseServer) -> None:
    before = metrics.RECONNECTS.labels("end")._value.get()
    await server.add(*edits(2))
    server.faults = [Fault(after=1)]
    async with following(server) as heard:
        await heard.until(lambda: len(heard.ids) == 2)
    kinds = [type(item) for item in heard.items]
    assert kinds == [Opened, Named, Message, Closed, Opened, Named, Message]
    assert metrics.RECONNECTS.labels("end")._value.get() == before + 1


@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_is_honoured(server: SseServer, status: int) -> None:
    await server.add(*edits(1))
    server.faults = [Fault(status=status, headers={"Retry-After": "1"})]
    async with following(server) as heard:
        began = time.monotonic()
        await heard.until(lambda: len(heard.ids) == 1)
    assert heard.ends == ["refused"]
    assert time.monotonic() - began >= 1.0


def test_retry_after_is_seconds_or_a_date_and_is_capped() -> None:
    now = datetime(2026, 11, 25, 12, 0, 0, tzinfo=UTC)
    assert retry_after_seconds("120", now) == 120
    assert retry_after_seconds(format_datetime(now + timedelta(seconds=90), usegmt=True), now) == 90
    assert retry_after_seconds(format_datetime(now - timedelta(seconds=90), usegmt=True), now) == 0
    assert retry_after_seconds("1000000000", now) == 300
    assert retry_after_seconds("9" * 400, now) == 300
    for nonsense in (None, "", "soon", "-5", "٣"):
        assert retry_after_seconds(nonsense, now) == 0


async def test_refusals_are_answered_with_growing_pauses_and_a_long_connection_with_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sse, "REFUSED_SECONDS", 1.0)
    subscription = Subscription(Settings(source="http://127.0.0.1:1"), Cursor(), begin_ms=0)
    pauses = []
    for _ in range(12):
        subscription._endpoints.ended("refused", brought=False, name=Choice.PRIMARY)
        pauses.append(subscription._pause("refused", 0.1, brought=False))
    assert 1.0 <= pauses[0] <= 1.5
    assert 8.0 <= pauses[3] <= 12.0
    assert all(pause == 60.0 for pause in pauses[6:])
    assert len({subscription._pause("cut", 0.1, brought=True) for _ in range(5)}) > 1
    assert subscription._pause("cut", 61.0, brought=True) == 0.0


async def test_a_server_that_refuses_is_asked_once_a_second_at_most_and_ever_more_rarely(
    server: SseServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "REFUSED_SECONDS", 0.1)
    server.faults = [Fault(status=503)] * 4
    await server.add(*edits(1))
    async with following(server, tick_seconds=0.001) as heard:
        await heard.until(lambda: len(heard.ids) == 1)
    times = [float(request["at"]) for request in server.requests]
    waits = [after - before for before, after in pairwise(times)]
    assert all(wait >= 0.1 * 2**n for n, wait in enumerate(waits))
    assert len(waits) == 4


async def test_bytes_that_drip_without_ever_making_a_message_are_silence(server: SseServer) -> None:
    await server.add(*edits(3))
    server.faults = [Fault(after=1, how="drip")]
    async with following(server, idle_seconds=0.4) as heard:
        await heard.until(lambda: len(heard.ids) == 3)
    assert heard.ends[0] == "idle"
    assert heard.ids == ids(edits(3))


async def test_a_server_that_accepts_and_never_answers_is_given_up(server: SseServer) -> None:
    await server.add(*edits(1))
    server.faults = [Fault(how="mute")]
    async with following(server, idle_seconds=0.3) as heard:
        await heard.until(lambda: len(heard.ids) == 1)
    assert heard.ends == ["refused"]


async def test_time_in_which_we_keep_the_server_waiting_is_no_silence(server: SseServer) -> None:
    await server.add(*edits(3))
    taken: list[Item] = []
    done = asyncio.Event()

    async def put(item: Item) -> None:
        if isinstance(item, Message):
            await asyncio.sleep(0.5)
        taken.append(item)
        if len([each for each in taken if isinstance(each, Message)]) == 3:
            done.set()

    subscription = Subscription(Settings(source=server.url, idle_seconds=0.2), Cursor(), begin_ms=BEGIN_MS)
    task = asyncio.create_task(subscription.follow(put))
    await asyncio.wait_for(done.wait(), 20)
    task.cancel()
    await asyncio.wait({task})
    assert not [each for each in taken if isinstance(each, Closed)]


async def test_the_same_offset_of_another_cluster_is_told_apart_by_the_id_of_the_last_message(
    server: SseServer,
) -> None:
    # The other cluster's offsets are three smaller: ours is there, and three messages would be passed over.
    docs = [page_change(n, BEGIN_MS + 1000 * n) for n in range(20)]
    await server.add(*docs)
    server.faults = [Fault(after=10)]
    async with following(server) as heard:
        await heard.until(lambda: heard.ends == ["end"])
        server.offset_base = -3
        await heard.until(lambda: set(heard.ids) == set(ids(docs)))
    assert heard.ends == ["end", "rewind"]


async def test_a_stream_that_the_server_does_not_offer_is_left_out_unless_every_hold_needs_it(
    server: SseServer,
) -> None:
    await server.add(*edits(2))
    server.offered = [PAGE_CHANGE, TAGS_CHANGE, VISIBILITY_CHANGE]
    async with following(server) as heard:
        await heard.until(lambda: len(heard.ids) == 2)
    assert heard.ends == ["not_offered"]
    server.offered = [PAGE_CHANGE]
    async with following(server) as heard:
        await heard.until(lambda: len(heard.ends) == 2)
    assert heard.ends == ["refused", "refused"]


async def test_an_endpoint_that_brings_nothing_is_left_for_the_other_and_tried_again_when_that_ends_by_age(
    server: SseServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "MAX_AGE_SECONDS", 0.3)
    docs = edits(6)
    async with SseServer().running() as second:
        await server.add(*docs)
        await second.add(*docs[:5])
        server.faults = [Fault(status=503)] * (endpoints.OPENS_AFTER + 1)
        async with following(server, source_fallback=second.url) as heard:
            await heard.until(lambda: len(heard.ids) == 5)
            assert circuit("primary") == "open"
            assert metrics.SOURCE_ENDPOINT.labels("fallback")._value.get() == 1
            await heard.until(lambda: len(heard.ids) == 6)
    # The trial fails once and costs a return to the second; the next one succeeds.
    assert heard.ids == ids(docs)
    assert heard.ends[: endpoints.OPENS_AFTER + 3] == ["refused"] * endpoints.OPENS_AFTER + ["age", "refused", "age"]
    assert len(second.requests) == 2
    assert circuit("primary") == "closed"


def circuit(endpoint: str) -> str:
    states = metrics.CIRCUIT_STATES
    return next(each for each in states if metrics.SOURCE_CIRCUIT.labels(endpoint, each)._value.get())


async def test_a_person_changes_the_endpoint_while_it_runs_and_no_message_is_lost_or_comes_twice(
    server: SseServer,
) -> None:
    docs = edits(30)
    async with SseServer().running() as second:
        await server.add(*docs[:10])
        await second.add(*docs)
        settings = Settings(source=server.url, source_fallback=second.url)
        switch = Endpoints(settings)
        heard = Heard()
        subscription = Subscription(settings, Cursor(), begin_ms=BEGIN_MS, endpoints=switch)
        task = asyncio.create_task(subscription.follow(heard.put))
        await heard.until(lambda: len(heard.ids) == 10)
        assert switch.choose(Choice.FALLBACK)
        await heard.until(lambda: len(heard.ids) == 30)
        task.cancel()
        await asyncio.wait({task})
    assert heard.ends == ["switch"]
    assert heard.ids == ids(docs)


def test_an_endpoint_that_is_not_configured_cannot_be_chosen() -> None:
    switch = Endpoints(Settings(source="http://127.0.0.1:1"))
    assert not switch.choose(Choice.FALLBACK)
    assert switch.choose(Choice.AUTO)
    assert switch.url == "http://127.0.0.1:1"


async def test_an_unreachable_server_is_asked_again(server: SseServer) -> None:
    async with following(SseServer(), source="http://127.0.0.1:1") as heard:
        await heard.until(lambda: len(heard.ends) == 3)
    assert set(heard.ends) == {"refused"}


@pytest.mark.parametrize("broken", [b'{"meta": {"id', b"{nope}", b"<html>"])
async def test_broken_json_costs_one_reconnection_and_then_goes_on_as_a_problem(
    server: SseServer, broken: bytes
) -> None:
    docs = edits(6)
    await server.add(*docs[:3])
    await server.add(broken, topic=EDITS)
    await server.add(*docs[3:])
    async with following(server) as heard:
        await heard.until(lambda: len(heard.ids) == 6)
    assert heard.ends == ["garbage"]
    problems = [each for each in heard.messages if isinstance(each.read, InvalidEvent)]
    assert [(each.data, each.read.reason) for each in problems] == [(broken, SetAside.NOT_JSON)]
    assert heard.ids == ids(docs)


async def test_a_torn_message_that_comes_whole_the_second_time_is_no_problem(server: SseServer) -> None:
    docs = edits(3)
    await server.add(*docs)
    whole = server.messages[1]
    server.messages[1] = sse_server_message(whole, whole.data[:50])
    async with following(server) as heard:
        await heard.until(lambda: heard.ends == ["garbage"])
        server.messages[1] = whole
        await heard.until(lambda: len(heard.ids) == 3)
    assert not [each for each in heard.messages if isinstance(each.read, InvalidEvent)]
    assert heard.ids == ids(docs)


def sse_server_message(like: Any, data: bytes) -> Any:
    return type(like)(topic=like.topic, offset=like.offset, at_ms=like.at_ms, data=data)


async def test_what_is_no_utf8_costs_one_reconnection_and_keeps_its_bytes_and_its_place(server: SseServer) -> None:
    docs = edits(5)
    await server.add(*docs)
    good = server.messages[2]
    bad = good.data.replace("Größe".encode(), b"Gr\xf6\xdfe")
    server.messages[2] = sse_server_message(good, bad)
    cursor = Cursor()
    async with following(server, cursor) as heard:
        await heard.until(lambda: len(heard.ids) == 4)
    assert heard.ends == ["garbage"]
    problem = next(each for each in heard.messages if isinstance(each.read, InvalidEvent))
    assert isinstance(problem.read, InvalidEvent)
    assert (problem.data, problem.read.reason) == (bad, SetAside.NOT_UTF8)
    assert problem.meta is not None
    assert problem.meta.offset == 2
    assert heard.ids == ids([*docs[:2], *docs[3:]])


async def test_of_a_response_that_ends_within_a_character_nothing_is_kept(server: SseServer) -> None:
    docs = edits(3)
    await server.add(*docs)
    frame = server._frame(server.messages[1])
    inside = frame.index("ö".encode()) + 1
    server.faults = [Fault(after=1, how="torn", bytes=inside)]
    async with following(server) as heard:
        await heard.until(lambda: len(heard.ids) == 3)
    assert heard.ends == ["end"]
    assert heard.ids == ids(docs)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda doc: doc["meta"].pop("id"), SetAside.MISSING_FIELD),
        (lambda doc: doc.update({"$schema": "/mediawiki/page/change/2.0.0"}), SetAside.UNKNOWN_SCHEMA),
        (lambda doc: doc.update({"page": {"page_id": "7"}}), SetAside.WRONG_TYPE),
        (lambda doc: doc.update({"wiki_id": orjson.Fragment(b"[" * 1_010 + b"]" * 1_010)}), SetAside.WRONG_TYPE),
        (lambda doc: doc.update({"junk": "x" * 20_000_000}), SetAside.TOO_LARGE),
    ],
)
async def test_what_is_json_but_not_what_we_know_is_a_problem_at_once(
    server: SseServer, spoil: Callable[[dict[str, Any]], Any], reason: SetAside
) -> None:
    docs = edits(3)
    spoil(docs[1])
    await server.add(*docs)
    cursor = Cursor()
    async with following(server, cursor) as heard:
        await heard.until(lambda: len(heard.messages) == 3)
    assert heard.ends == []
    problem = heard.messages[1]
    assert isinstance(problem.read, InvalidEvent)
    assert problem.read.reason == reason
    assert problem.data == server.messages[1].data
    assert problem.meta is not None
    assert cursor.positions[0].next_offset == 3 or any(p.next_offset == 3 for p in cursor.positions)


async def test_a_line_beyond_what_kafka_takes_is_never_skipped_unseen(server: SseServer) -> None:
    await server.add(*edits(1))
    await server.add(b"x" * (24 * 2**20), topic=EDITS)
    await server.add(page_change(7, BEGIN_MS + 7))
    async with following(server) as heard:
        await heard.until(lambda: len(heard.ends) == 2)
    assert set(heard.ends) == {"garbage"}
    assert heard.ids == [f"{PAGE_CHANGE}-eqiad-0"]


async def test_an_endless_event_of_many_lines_ends_the_connection(server: SseServer) -> None:
    await server.add((b"x" * 1_000_000 + b"\ndata: ") * 24, topic=EDITS)
    async with following(server, Cursor([place(0)])) as heard:
        await heard.until(lambda: len(heard.ends) == 1)
    assert heard.ends == ["garbage"]
    assert heard.messages == []


async def test_a_server_on_another_cluster_is_asked_again_by_time_for_all_topics(server: SseServer) -> None:
    docs = [page_change(n, BEGIN_MS + 1000 * n) for n in range(20)]
    await server.add(*docs, recent_change(1, BEGIN_MS))
    server.faults = [Fault(after=15, how="eof")]
    cursor = Cursor()
    async with following(server, cursor) as heard:
        await heard.until(lambda: heard.ends == ["end"])
        server.offset_base = FAR_AHEAD
        await heard.until(lambda: set(heard.ids) >= set(ids(docs)))
    assert heard.ends == ["end", "rewind"]
    assert all("timestamp" in entry for entry in orjson.loads(server.requests[2]["last-event-id"]))
    assert len([p for p in cursor.positions if p.next_offset > FAR_AHEAD]) == 2


async def test_a_server_that_goes_on_at_its_end_loses_nothing(server: SseServer) -> None:
    # Our offset is beyond its own: a real server goes on at its newest message, with a smaller offset.
    docs = [page_change(n, BEGIN_MS + 1000 * n) for n in range(5)]
    await server.add(*docs)
    server.jump = {EDITS: 4}
    async with following(server, Cursor([place(900)])) as heard:
        await heard.until(lambda: len(heard.ids) == 5)
    assert heard.ends == ["rewind"]
    assert heard.ids == ids(docs)


async def test_who_puts_slowly_slows_the_server_down(server: SseServer) -> None:
    docs = [page_change(n, BEGIN_MS) | {"junk": "x" * 1_000_000} for n in range(100)]
    await server.add(*docs)
    gate = asyncio.Event()
    taken: list[Item] = []

    async def put(item: Item) -> None:
        taken.append(item)
        if isinstance(item, Message):
            await gate.wait()

    subscription = Subscription(Settings(source=server.url), Cursor(), begin_ms=BEGIN_MS)
    task = asyncio.create_task(subscription.follow(put))
    try:
        await server.until_stuck()
        assert server.sent_bytes < 60_000_000
    finally:
        task.cancel()
        await asyncio.wait({task})


@pytest.mark.parametrize("host", ["stream.wikimedia.org", "wikimedia.org", "EN.Wikipedia.ORG"])
def test_wikimedia_is_not_asked_without_a_contact(host: str) -> None:
    settings = Settings(source=f"https://{host}")
    with pytest.raises(InvalidSetting, match="SLUICE_CONTACT"):
        check_source(settings)
    check_source(settings.with_(contact="mailto:a@example.org"))


@pytest.mark.parametrize("source", ["stream.example.org", "ftp://example.org", "", "http://"])
def test_a_source_that_is_no_web_address_is_refused(source: str) -> None:
    with pytest.raises(InvalidSetting, match="SLUICE_SOURCE"):
        check_source(Settings(source=source))


async def test_a_redirect_is_not_followed(server: SseServer) -> None:
    await server.add(*edits(1))
    server.faults = [Fault(status=302, headers={"Location": f"{server.url}/elsewhere"})]
    async with following(server) as heard:
        await heard.until(lambda: len(heard.ids) == 1)
    assert heard.ends == ["garbage"]
    assert all("/v2/stream/" in request["target"] for request in server.requests)


async def test_canaries_come_through_as_signs_of_life(server: SseServer) -> None:
    await server.add(*canaries(1, now_ms()))
    async with following(server) as heard:
        await heard.until(lambda: len(heard.messages) == 8)
    assert all(message.meta is not None and message.meta.is_canary for message in heard.messages)
