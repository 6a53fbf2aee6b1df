"""The fetch step on a real broker, against an action API on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiokafka import TopicPartition
from api_server import ApiServer, Request, error, event, held_until, http
from conftest import MakeSettings, produce, read_all
from test_erase import SECRET, hide, suppress

from processors.answers import MAX_TEXT_BYTES
from processors.digest import page_partition, sha1_base36
from processors.skeleton import shown_again, skeleton
from schemas.content import Content, Html, decode_content, record_key
from schemas.event import VISIBILITY_CHANGE, decode_event, milliseconds, rfc3339
from schemas.log import KIND_CONTROL, KIND_EVENT, KIND_SKELETON, KIND_TICK
from schemas.reasons import Answer, SetAside, Step
from streams import content_requests, fetch, metrics, out_of_order
from streams.content_api import MAX_BODY_BYTES, ContentApi
from streams.kafka import Out, consumer, header
from streams.outbox import Outbox
from streams.settings import Settings
from streams.topics import Topics, limits

pytestmark = pytest.mark.kafka
PATIENCE_SECONDS = 60.0
OLD_MS = int(time.time() * 1000) - 3_600_000


@pytest.fixture
async def quick(make_settings: MakeSettings, wiki: ApiServer) -> Settings:
    """Settings that ask the test's API at once and as often as they like."""
    return await make_settings(content=wiki.template, linger_seconds=0.05, requests_per_minute=100_000.0)


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[asyncio.Task[None]]:
    """The step, stopped at the end as it would be by a signal."""
    stop = asyncio.Event()
    task = asyncio.create_task(fetch.run(settings, stop))
    try:
        yield task
    finally:
        stop.set()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await task


def logged(
    settings: Settings, payload: bytes, *, page_id: int = 7, wiki: str = "enwiki", kind: bytes = KIND_EVENT
) -> Out:
    """A message as the source writes it."""
    return Out(
        topic=Topics(settings).source,
        key=b"%d" % hash(payload),
        value=payload,
        partition=page_partition(wiki, page_id, settings.partitions),
        headers=[("kind", kind)],
    )


async def contents(settings: Settings, wanted: int, task: asyncio.Task[None] | None = None) -> dict[int, Content]:
    """Revision → its record of `content`, once there are at least `wanted`."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            records = [decode_content(record.value) for record in await read_all(settings, Topics(settings).content)]
            by_rev = {record.rev_id: record for record in records}
            if len(by_rev) >= wanted:
                return by_rev
            if task is not None and task.done():
                task.result()
            await asyncio.sleep(0.1)


async def letters(settings: Settings) -> list[Any]:
    return await read_all(settings, Topics(settings).deadletter)


async def committed(settings: Settings) -> dict[int, int]:
    """Partition → offset that the step has committed."""
    topics = Topics(settings)
    reader = consumer(settings, group=topics.group(Step.FETCH))
    await reader.start()
    try:
        parts = [TopicPartition(topics.source, partition) for partition in range(settings.partitions)]
        reader.assign(parts)
        return {tp.partition: await reader.committed(tp) or 0 for tp in parts}
    finally:
        await reader.stop()


def now_ms() -> int:
    return int(time.time() * 1000)


def asked_ids(requests: Iterable[Request]) -> list[int]:
    return [rev_id for request in requests for rev_id in request.ids]


# What is written


async def test_an_edit_becomes_a_record_with_its_text_and_its_parents_in_the_partition_of_its_page(
    quick: Settings, wiki: ApiServer
) -> None:
    pages = range(1, 8)
    for page in pages:
        wiki.put(10 * page, f"old {page}", page_id=page)
        wiki.put(10 * page + 1, f"new {page}", page_id=page, tags=["mw-undo"])
    payloads = {
        10 * page + 1: event(
            10 * page + 1,
            f"new {page}",
            at_ms=OLD_MS,
            page_id=page,
            parent_id=10 * page,
            prior_sha1=sha1_base36(f"old {page}"),
        )
        for page in pages
    }
    await produce(quick, [logged(quick, payload, page_id=rev // 10) for rev, payload in payloads.items()])
    async with running(quick) as task:
        got = await contents(quick, 7, task)
    for rev_id, record in got.items():
        assert record.parent is not None
        assert (record.revision.text, record.parent.text) == (f"new {rev_id // 10}", f"old {rev_id // 10}")
        assert record.revision.tags == ("mw-undo",)
        assert record.event == payloads[rev_id]
        assert record.source == f"{wiki.base}/enwiki/en.wikipedia.org/w/api.php"
    for record in await read_all(quick, Topics(quick).content):
        page_id = decode_content(record.value).page_id
        assert record.key == b"enwiki:%d:%d" % (page_id, 10 * page_id + 1)
        assert record.partition == page_partition("enwiki", page_id, quick.partitions)
        assert header(record, "offset") is not None
    assert await letters(quick) == []


async def test_each_answer_of_the_api_has_its_own_name_in_the_record(
    make_settings: MakeSettings, wiki: ApiServer
) -> None:
    settings = await make_settings(
        content=wiki.template,
        linger_seconds=0.05,
        requests_per_minute=100_000.0,
        replica_lag_seconds=3.0,
        give_up_seconds=2.0,
    )
    for rev_id in range(1, 5):
        wiki.put(rev_id, f"text {rev_id}")
    wiki.hide(2)
    wiki.put(3, "not what was announced")
    wiki.put(6, "x", slot={"content": None, "textmissing": True})
    wiki.put(9, "small to the event", slot={"size": MAX_TEXT_BYTES + 1})
    given = {
        1: event(1, "text 1", at_ms=now_ms(), parent_id=2),
        2: event(2, "text 2", at_ms=now_ms(), parent_id=1),
        3: event(3, "text 3", at_ms=now_ms(), parent_id=77),
        4: event(4, "text 4", at_ms=now_ms(), visible=False, parent_id=3),
        5: event(5, "text 5", at_ms=now_ms()),
        6: event(6, "x", at_ms=now_ms()),
        7: event(7, "text 7", at_ms=now_ms(), domain="localhost"),
        8: event(8, "text 8", at_ms=now_ms(), size=MAX_TEXT_BYTES + 1),
        9: event(9, "small to the event", at_ms=now_ms()),
    }
    await produce(settings, [logged(settings, payload) for payload in given.values()])
    async with running(settings) as task:
        got = await contents(settings, 9, task)
    assert {rev_id: record.revision.answer for rev_id, record in got.items()} == {
        1: Answer.TEXT,
        2: Answer.HIDDEN,
        3: Answer.SHA1_MISMATCH,
        4: Answer.NOT_ASKED,
        5: Answer.MISSING,
        6: Answer.UNAVAILABLE,
        7: Answer.UNAVAILABLE,
        8: Answer.TOO_LARGE,
        9: Answer.TOO_LARGE,
    }
    assert [record.revision.text for rev_id, record in got.items() if rev_id != 1] == [None] * 8
    parents = {rev_id: record.parent.answer for rev_id, record in got.items() if record.parent is not None}
    assert parents == {1: Answer.HIDDEN, 2: Answer.TEXT, 3: Answer.MISSING, 4: Answer.NOT_ASKED}
    assert not {4, 7, 8} & set(asked_ids(wiki.requests))
    assert asked_ids(wiki.requests).count(5) > 1
    assert {rev_id: got[rev_id].source == "" for rev_id in (1, 4, 7, 8)} == {1: False, 4: True, 7: True, 8: True}
    aside = {header(letter, "reason"): letter for letter in await letters(settings)}
    assert set(aside) == {SetAside.SHA1_MISMATCH.encode(), SetAside.CONTENT_UNAVAILABLE.encode()}
    mismatch = aside[SetAside.SHA1_MISMATCH.encode()]
    partition = page_partition("enwiki", 7, settings.partitions)
    assert mismatch.value == given[3]
    assert header(mismatch, "origin") == f"{Topics(settings).source}/{partition}/2".encode()
    assert sha1_base36("text 3").encode() in (header(mismatch, "detail") or b"")


async def test_a_sha1_that_differs_once_is_asked_again_and_no_letter_is_written(
    quick: Settings, wiki: ApiServer
) -> None:
    wiki.put(1, "torn")
    await produce(quick, [logged(quick, event(1, "whole", at_ms=OLD_MS))])
    async with running(quick) as task:
        await wiki.asked(1)
        wiki.put(1, "whole")
        got = await contents(quick, 1, task)
    assert got[1].revision.text == "whole"
    assert len(wiki.requests) == 2
    assert await letters(quick) == []


async def test_what_is_no_edit_is_passed_over_and_what_cannot_be_read_goes_to_the_dead_letters(
    quick: Settings, wiki: ApiServer
) -> None:
    wiki.put(9, "nine")
    canary = event(3, "x", at_ms=OLD_MS, domain="canary")
    broken = b'{"meta": {"stream": "mediawiki.page_change.v1"'
    given = [
        logged(quick, b'{"number":1}', kind=KIND_TICK),
        logged(quick, b'{"kind":"policies"}', kind=KIND_CONTROL),
        logged(quick, event(1, "x", at_ms=OLD_MS, kind="delete")),
        logged(quick, event(2, "x", at_ms=OLD_MS, kind="visibility_change")),
        logged(quick, canary),
        logged(quick, broken),
        logged(quick, event(9, "nine", at_ms=OLD_MS, kind="create")),
    ]
    await produce(quick, given)
    async with running(quick) as task:
        got = await contents(quick, 1, task)
    assert set(got) == {9}
    assert asked_ids(wiki.requests) == [9]
    (letter,) = await letters(quick)
    partition = page_partition("enwiki", 7, quick.partitions)
    assert letter.value == broken
    assert header(letter, "reason") == SetAside.WRONG_RECORD.encode()
    assert header(letter, "origin") == f"{Topics(quick).source}/{partition}/5".encode()
    assert (await committed(quick))[partition] == len(given)


async def test_texts_that_do_not_fit_into_a_record_are_left_out_and_the_record_says_so(
    quick: Settings, wiki: ApiServer
) -> None:
    # Each of these characters is six as JSON: two texts of 2 MiB are 25 MB, above the topic's 21.
    text = "\u0001" * MAX_TEXT_BYTES
    wiki.put(1, text)
    wiki.put(2, text)
    await produce(quick, [logged(quick, event(2, text, at_ms=OLD_MS, parent_id=1))])
    async with running(quick) as task:
        got = await contents(quick, 1, task)
    assert got[2].parent is not None
    assert (got[2].revision.answer, got[2].parent.answer) == (Answer.TOO_LARGE, Answer.TOO_LARGE)


def rendered(rev_id: int) -> str:
    return f'<html about="https://x/wiki/Special:Redirect/revision/{rev_id}"><body><p>Page {rev_id}</p></body></html>'


async def test_the_page_as_rendered_comes_with_the_texts_or_alone_as_the_setting_wants_it_for_each_wiki(
    quick: Settings, wiki: ApiServer
) -> None:
    settings = quick.with_(content_form=("wikitext", "dewiki=both", "frwiki=html"))
    for rev_id in range(1, 6):
        wiki.put(rev_id, f"text {rev_id}")
        wiki.pages[rev_id] = rendered(rev_id)
    given = {1: "enwiki", 2: "dewiki", 3: "frwiki"}
    payloads = [event(n, f"text {n}", at_ms=OLD_MS, wiki=name, parent_id=n + 2) for n, name in given.items()]
    await produce(settings, [logged(settings, payload) for payload in payloads])
    async with running(settings) as task:
        got = await contents(settings, 3, task)
    assert {n: (r.revision.text, r.html) for n, r in got.items()} == {
        1: ("text 1", None),
        2: ("text 2", Html(answer=Answer.TEXT, text=rendered(2))),
        3: (None, Html(answer=Answer.TEXT, text=rendered(3))),
    }
    assert got[3].revision.answer is Answer.NOT_ASKED
    paths = [request.path for request in wiki.requests]
    assert sum(path.endswith("/api.php") for path in paths) == 2
    assert sorted(path for path in paths if "rest.php" in path) == [
        "/dewiki/en.wikipedia.org/w/rest.php/v1/revision/2/html",
        "/frwiki/en.wikipedia.org/w/rest.php/v1/revision/3/html",
    ]


async def test_a_page_that_cannot_be_had_has_a_typed_answer_and_the_text_comes_all_the_same(
    quick: Settings, wiki: ApiServer
) -> None:
    settings = quick.with_(content_form=("both",), replica_lag_seconds=1.0, give_up_seconds=3.0)
    for rev_id in range(1, 6):
        wiki.put(rev_id, f"text {rev_id}")
    wiki.pages = {2: rendered(99), 3: rendered(3) + " " * MAX_BODY_BYTES}
    wiki.hide(4)
    whole = wiki.reply

    async def fails_on_5(request: Request, writer: asyncio.StreamWriter) -> None:
        await (http(503) if "revision/5" in request.path else whole)(request, writer)

    wiki.reply = fails_on_5  # type: ignore[method-assign]
    await produce(settings, [logged(settings, event(n, f"text {n}", at_ms=OLD_MS)) for n in range(1, 6)])
    async with running(settings) as task:
        got = await contents(settings, 5, task)
    assert {n: r.html.answer for n, r in got.items() if r.html is not None} == {
        1: Answer.MISSING,
        2: Answer.SHA1_MISMATCH,
        3: Answer.TOO_LARGE,
        4: Answer.HIDDEN,
        5: Answer.UNAVAILABLE,
    }
    assert [got[n].revision.text for n in (1, 2, 3, 5)] == ["text 1", "text 2", "text 3", "text 5"]


async def test_a_second_source_is_asked_while_the_first_one_fails_and_the_record_says_which_it_was(
    quick: Settings, wiki: ApiServer
) -> None:
    async with ApiServer() as second:
        settings = quick.with_(content_fallback=second.template)
        for rev_id in range(1, 31):
            second.put(rev_id, f"text {rev_id}")
        wiki.reply = http(500)  # type: ignore[method-assign, assignment]
        payloads = [event(n, f"text {n}", at_ms=OLD_MS, wiki=f"w{n}wiki") for n in range(1, 31)]
        await produce(settings, [logged(settings, payload) for payload in payloads])
        async with running(settings) as task:
            got = await contents(settings, 30, task)
        assert {record.revision.text for record in got.values()} == {f"text {n}" for n in range(1, 31)}
        assert {record.source.partition("/w")[0] for record in got.values()} == {second.base}
        states = metrics.REGISTRY.get_sample_value
        assert states("sluice_content_breaker_state", {"source": "fallback", "state": "closed"}) == 1
    # It is given up after ten failures, and tried by one request at a time.
    assert len(wiki.requests) < 20
    assert await letters(settings) == []


async def test_a_slot_whose_text_is_not_the_announced_one_makes_it_another_revision(
    quick: Settings, wiki: ApiServer
) -> None:
    for rev_id, other in ((1, "{}"), (2, "{1}")):
        slot = {"size": 2, "contentmodel": "wikibase-mediainfo", "content": other}
        wiki.put(rev_id, "file", roles=["main", "mediainfo"])
        slot["sha1"] = hashlib.sha1(other.encode()).hexdigest()
        wiki.revisions[rev_id]["revision"]["slots"]["mediainfo"] = slot
    given = [event(n, "file", at_ms=OLD_MS, slots=("main", "mediainfo"), other="{}") for n in (1, 2)]
    await produce(quick, [logged(quick, payload) for payload in given])
    async with running(quick) as task:
        got = await contents(quick, 2, task)
    assert wiki.requests[0].params["rvslots"] == "*"
    assert {n: record.revision.answer for n, record in got.items()} == {1: Answer.TEXT, 2: Answer.SHA1_MISMATCH}
    (slot_text,) = got[1].revision.slots
    assert (slot_text.role, slot_text.model, slot_text.text) == ("mediainfo", "wikibase-mediainfo", "{}")


# What is asked


async def test_revisions_are_asked_in_fifties_and_the_parents_in_between_once(
    make_settings: MakeSettings, wiki: ApiServer
) -> None:
    settings = await make_settings(content=wiki.template, linger_seconds=1.0, requests_per_minute=100_000.0)
    for rev_id in range(1, 122):
        wiki.put(rev_id, f"text {rev_id}")
    chain = [event(n, f"text {n}", at_ms=OLD_MS, parent_id=n - 1) for n in range(2, 122)]
    await produce(settings, [logged(settings, payload) for payload in chain])
    async with running(settings) as task:
        got = await contents(settings, 120, task)
    for rev_id in range(2, 122):
        record = got[rev_id]
        assert record.parent is not None
        assert record.parent.text == f"text {rev_id - 1}"
    assert len(wiki.requests[0].ids) == 50
    assert len(wiki.requests) == 3
    assert all(len(request.ids) == len(set(request.ids)) for request in wiki.requests)


async def test_a_text_that_we_hold_is_not_asked_again_for_its_child_unless_it_was_hidden_since(
    quick: Settings, wiki: ApiServer
) -> None:
    for rev_id in (1, 2, 3):
        wiki.put(rev_id, f"text {rev_id}")
    hiding = (
        b'{"$schema":"/mediawiki/revision/visibility-change/1.0.0","meta":{"id":"v","stream":"%s","domain":'
        b'"en.wikipedia.org","dt":"2026-01-01T00:00:00Z"},"database":"enwiki","page_id":7,"rev_id":2,'
        b'"visibility":{"text":false,"user":true,"comment":true},'
        b'"prior_state":{"visibility":{"text":true,"user":true,"comment":true}}}'
    ) % VISIBILITY_CHANGE.encode()
    decode_event(hiding)
    async with running(quick) as task:
        await produce(quick, [logged(quick, event(1, "text 1", at_ms=OLD_MS))])
        await contents(quick, 1, task)
        await produce(quick, [logged(quick, event(2, "text 2", at_ms=OLD_MS, parent_id=1))])
        await contents(quick, 2, task)
        assert [request.ids for request in wiki.requests] == [(1,), (2,)]
        wiki.hide(2)
        await produce(quick, [logged(quick, hiding), logged(quick, event(3, "text 3", at_ms=OLD_MS, parent_id=2))])
        got = await contents(quick, 3, task)
    assert wiki.requests[-1].ids == (3, 2)
    assert got[2].parent is not None
    assert got[3].parent is not None
    assert (got[2].parent.text, got[3].parent.answer) == ("text 1", Answer.HIDDEN)


async def test_what_was_erased_is_dropped_while_under_way_and_leaves_a_tombstone(
    quick: Settings, wiki: ApiServer
) -> None:
    wiki.put(5, SECRET)
    wiki.put(4, "kept")
    change = event(5, SECRET, at_ms=OLD_MS)
    erased = logged(quick, skeleton(change, {5}), kind=KIND_SKELETON)
    answers = asyncio.Event()
    wiki.replies = [held_until(answers, wiki.reply)]
    async with running(quick):
        await produce(quick, [logged(quick, change)])
        await wiki.asked(1)
        await produce(quick, [erased])
        await until_erased(quick, 1)
        answers.set()
        await produce(quick, [logged(quick, event(4, "kept", at_ms=OLD_MS))])
        found = await until_erased(quick, 2)
    by_rev = {record.key: record.value for record in found}
    assert by_rev[record_key("enwiki", 7, 5)] is None
    assert by_rev[record_key("enwiki", 7, 4)] is not None
    assert len(found) == 2


async def test_what_is_shown_again_is_asked_for_by_the_event_that_shows_it_and_what_is_hidden_again_is_answered_so(
    quick: Settings, wiki: ApiServer
) -> None:
    def again(cause: str) -> Out:
        out = logged(quick, shown_again(bare, cause), kind=KIND_SKELETON)
        return out._replace(headers=[*out.headers, ("shown", cause.encode())])

    wiki.put(5, "it was seen")
    change = event(5, "it was seen", at_ms=OLD_MS)
    bare = skeleton(change, {5})
    undeleted = logged(quick, bare, kind=KIND_SKELETON)
    async with running(quick):
        await produce(quick, [logged(quick, change)])
        await until_erased(quick, 1)
        await produce(quick, [logged(quick, bare, kind=KIND_SKELETON), again("show-5")])
        await until_erased(quick, 3)
        # An undeletion has the text by its own event: the skeleton of an earlier one leaves it alone.
        await produce(quick, [undeleted._replace(headers=[*undeleted.headers, ("shown", b"undelete-7")])])
        wiki.hide(5)
        await produce(quick, [again("show-again")])
        found = await until_erased(quick, 4)
    first, gone, second, third = [record.value for record in found]
    assert gone is None
    texts = [decode_content(value) for value in (first, second, third)]
    assert [content.revision.text for content in texts] == ["it was seen", "it was seen", None]
    assert texts[2].revision.answer is Answer.HIDDEN
    ids = [orjson.loads(content.event)["meta"]["id"] for content in texts]
    assert ids == ["id-enwiki-5", "show-5", "show-again"]


async def test_a_hiding_of_what_the_log_keeps_no_more_leaves_the_tombstone_itself_and_so_does_that_of_a_page(
    quick: Settings,
) -> None:
    def hiding(rev: int, days: int) -> bytes:
        doc = hide(rev)
        made_ms = milliseconds(doc["meta"]["dt"]) - days * 86_400_000
        return orjson.dumps(doc | {"rev_timestamp": rfc3339(made_ms)})

    hidings = [hiding(5, 1), hiding(6, 40), orjson.dumps(suppress(9, page=7))]
    async with running(quick):
        await produce(quick, [logged(quick, each) for each in hidings])
        found = await until_erased(quick, 2)
    # Of what is younger the log has an event, and so a skeleton comes; 0 stands for every revision of the page.
    assert {(record.key, record.value) for record in found} == {
        (record_key("enwiki", 7, 6), None),
        (record_key("enwiki", 7, 0), None),
    }


async def until_erased(settings: Settings, count: int) -> list[Any]:
    """All records of `content`, once there are so many."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(found := await read_all(settings, Topics(settings).content)) < count:  # noqa: ASYNC110 - a topic tells nobody
            await asyncio.sleep(0.1)
    return found


async def test_a_child_of_what_was_hidden_is_asked_anew_and_has_no_parent_then_whatever_the_api_says(
    quick: Settings, wiki: ApiServer
) -> None:
    wiki.put(5, SECRET)
    wiki.put(6, "harmless")
    child = orjson.loads(event(6, "harmless", at_ms=OLD_MS, parent_id=5, prior_sha1=sha1_base36(SECRET)))
    child["revision"]["comment"] = "stays"
    child["prior_state"]["revision"]["comment"] = SECRET
    hiding = hide(5)
    async with running(quick) as task:
        await produce(quick, [logged(quick, orjson.dumps(child))])
        before = (await contents(quick, 1, task))[6]
        assert before.parent is not None
        assert before.parent.text == SECRET
        bare = skeleton(orjson.dumps(child), {5})
        await produce(quick, [logged(quick, orjson.dumps(hiding)), logged(quick, bare, kind=KIND_SKELETON)])
        found = await until_erased(quick, 3)
    assert [record.value is None for record in found] == [False, True, False]
    after = decode_content(found[-1].value)
    assert SECRET.encode() not in found[-1].value
    assert after.parent is not None
    assert (after.revision.text, after.parent.answer) == ("harmless", Answer.HIDDEN)
    assert b"stays" in after.event


async def test_an_answer_that_was_cut_short_is_completed_by_asking_for_the_rest(
    quick: Settings, wiki: ApiServer
) -> None:
    for rev_id in range(1, 11):
        wiki.put(rev_id, f"text {rev_id}")
    whole = wiki.reply

    async def at_most_two(request: Request, writer: asyncio.StreamWriter) -> None:
        cut = Request(path=request.path, headers=request.headers, params=request.params, ids=request.ids[:2])
        await whole(cut, writer)

    wiki.reply = at_most_two  # type: ignore[method-assign]
    await produce(quick, [logged(quick, event(n, f"text {n}", at_ms=OLD_MS)) for n in range(1, 11)])
    async with running(quick) as task:
        got = await contents(quick, 10, task)
    assert {record.revision.text for record in got.values()} == {f"text {n}" for n in range(1, 11)}


async def test_a_revision_that_the_api_cannot_answer_does_not_take_others_with_it(
    make_settings: MakeSettings, wiki: ApiServer
) -> None:
    settings = await make_settings(
        content=wiki.template, linger_seconds=0.05, requests_per_minute=100_000.0, give_up_seconds=8.0
    )
    for rev_id in range(1, 21):
        wiki.put(rev_id, f"text {rev_id}")
    whole = wiki.reply

    async def fails_on_13(request: Request, writer: asyncio.StreamWriter) -> None:
        await (error("internal_api_error_MWException") if 13 in request.ids else whole)(request, writer)

    wiki.reply = fails_on_13  # type: ignore[method-assign]
    await produce(settings, [logged(settings, event(n, f"text {n}", at_ms=OLD_MS)) for n in range(1, 21)])
    async with running(settings) as task:
        got = await contents(settings, 20, task)
    assert {rev_id for rev_id, record in got.items() if record.revision.answer is Answer.TEXT} == set(range(1, 21)) - {
        13
    }
    assert got[13].revision.answer is Answer.UNAVAILABLE
    (letter,) = await letters(settings)
    assert header(letter, "reason") == SetAside.CONTENT_UNAVAILABLE.encode()
    assert b"internal_api_error_MWException" in (header(letter, "detail") or b"")


# Order and offsets


async def test_a_parked_revision_holds_back_the_offset_and_no_other_revision(
    make_settings: MakeSettings, wiki: ApiServer
) -> None:
    settings = await make_settings(
        content=wiki.template, linger_seconds=0.05, requests_per_minute=100_000.0, replica_lag_seconds=3600.0
    )
    for rev_id in (1, 3, 4):
        wiki.put(rev_id, f"text {rev_id}")
    await produce(settings, [logged(settings, event(n, f"text {n}", at_ms=now_ms())) for n in (1, 2, 3, 4)])
    async with running(settings) as task:
        assert set(await contents(settings, 3, task)) == {1, 3, 4}
    partition = page_partition("enwiki", 7, settings.partitions)
    assert (await committed(settings))[partition] == 1
    wiki.put(2, "text 2")
    async with running(settings) as task:
        assert set(await contents(settings, 4, task)) == {1, 2, 3, 4}
    assert (await committed(settings))[partition] == 4


async def test_a_wiki_that_says_later_is_left_alone_while_others_go_on(quick: Settings, wiki: ApiServer) -> None:
    whole = wiki.reply
    told_at: list[float] = []

    async def later(request: Request, writer: asyncio.StreamWriter) -> None:
        if request.path.startswith("/enwiki/") and len(told_at) < 2:
            told_at.append(time.monotonic())
            await (http(429, retry_after="2") if len(told_at) == 1 else error("maxlag", retry_after="2"))(
                request, writer
            )
            return
        if request.path.startswith("/enwiki/"):
            told_at.append(time.monotonic())
        await whole(request, writer)

    wiki.reply = later  # type: ignore[method-assign]
    for rev_id in (1, 2):
        wiki.put(rev_id, f"text {rev_id}")
    english = logged(quick, event(1, "text 1", at_ms=OLD_MS))
    german = logged(quick, event(2, "text 2", at_ms=OLD_MS, wiki="dewiki", domain="de.wikipedia.org"), wiki="dewiki")
    throttled = metrics.CONTENT_REQUESTS.labels("throttled")._value.get()
    async with running(quick) as task:
        await produce(quick, [english])
        await wiki.asked(1)
        await produce(quick, [german])
        assert set(await contents(quick, 1, task)) == {2}
        assert set(await contents(quick, 2, task)) == {1, 2}
    assert [later - before >= 2.0 for before, later in pairwise(told_at)] == [True, True]
    assert metrics.CONTENT_REQUESTS.labels("throttled")._value.get() - throttled == 2
    assert await letters(quick) == []


async def test_no_more_is_read_than_may_be_in_flight(
    quick: Settings, wiki: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(out_of_order, "POLL_RECORDS", 5)
    monkeypatch.setattr(fetch, "MAX_IN_FLIGHT", 10)
    go = asyncio.Event()
    whole = wiki.reply
    for rev_id in range(1, 61):
        wiki.put(rev_id, f"text {rev_id}")
    read_before = metrics.RECORDS.labels(Step.FETCH, "in")._value.get()
    wiki.replies += [held_until(go, whole) for _ in range(3)]
    await produce(quick, [logged(quick, event(n, f"text {n}", at_ms=OLD_MS)) for n in range(1, 61)])
    stop = asyncio.Event()
    async with ContentApi(quick) as api:
        step = fetch.Fetch(quick, api)
        task = asyncio.create_task(step.run(stop))
        await wiki.asked(1)
        # Three polls later, paused partitions have given nothing more.
        await asyncio.sleep(4 * out_of_order.POLL_MS / 1000)
        assert 10 <= metrics.RECORDS.labels(Step.FETCH, "in")._value.get() - read_before < 15
        go.set()
        assert len(await contents(quick, 60, task)) == 60
        stop.set()
        await task


# Stops and failures


async def test_a_stop_ends_within_ten_seconds_though_the_api_hangs_and_what_was_open_is_asked_again(
    quick: Settings, wiki: ApiServer
) -> None:
    never = asyncio.Event()
    wiki.put(1, "text 1")
    wiki.replies.append(held_until(never, wiki.reply))
    await produce(quick, [logged(quick, event(1, "text 1", at_ms=OLD_MS))])
    stop = asyncio.Event()
    task = asyncio.create_task(fetch.run(quick, stop))
    await wiki.asked(1)
    started = time.monotonic()
    stop.set()
    await task
    assert time.monotonic() - started < 10
    assert set((await committed(quick)).values()) == {0}
    async with running(quick) as again:
        assert set(await contents(quick, 1, again)) == {1}


async def test_what_a_stop_finds_under_way_is_finished_if_it_does_not_take_long(
    quick: Settings, wiki: ApiServer
) -> None:
    go = asyncio.Event()
    wiki.put(1, "text 1")
    wiki.replies.append(held_until(go, wiki.reply))
    await produce(quick, [logged(quick, event(1, "text 1", at_ms=OLD_MS))])
    async with running(quick):
        await wiki.asked(1)
        asyncio.get_running_loop().call_later(0.5, go.set)
    assert set(await contents(quick, 1)) == {1}
    assert (await committed(quick))[page_partition("enwiki", 7, quick.partitions)] == 1


async def test_a_producer_that_fails_is_made_anew_and_what_was_not_acked_is_sent_again(settings: Settings) -> None:
    topics = Topics(settings)
    outbox = Outbox(settings, Step.FETCH, limits(topics.table()))
    rebuilds = metrics.REBUILDS.labels(Step.FETCH)._value.get()
    acked: list[int] = []
    sending = asyncio.create_task(outbox.run())
    try:
        for number in range(20):
            outbox.put(
                [Out(topic=topics.content, key=b"%d" % number, value=b"x", partition=0)],
                lambda number=number: acked.append(number),
            )
            if number == 9:
                await outbox.drained()
                await outbox._producer.stop()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await outbox.drained()
    finally:
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        await outbox.close()
    assert acked == list(range(20))
    assert outbox.size_bytes == 0
    assert metrics.REBUILDS.labels(Step.FETCH)._value.get() == rebuilds + 1
    assert [int(record.key) for record in await read_all(settings, topics.content)] == list(range(20))


async def test_a_fault_of_the_step_itself_ends_it(
    quick: Settings, monkeypatch: pytest.MonkeyPatch, wiki: ApiServer
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(content_requests, "hear", broken)
    wiki.put(1, "text 1")
    await produce(quick, [logged(quick, event(1, "text 1", at_ms=OLD_MS))])
    with pytest.raises(ZeroDivisionError):
        async with asyncio.timeout(PATIENCE_SECONDS):
            await fetch.run(quick, asyncio.Event())


async def start_worker(settings: Settings, **more: str) -> asyncio.subprocess.Process:
    given = {
        "KAFKA": settings.kafka,
        "TOPIC_PREFIX": settings.topic_prefix,
        "PARTITIONS": str(settings.partitions),
        "CONTENT": settings.content,
        "LINGER_SECONDS": str(settings.linger_seconds),
        "REQUESTS_PER_MINUTE": str(settings.requests_per_minute),
        "ASSIGN": settings.assign,
    } | more
    env = os.environ | {f"SLUICE_{name}": text for name, text in given.items()}
    env["PYTHONPATH"] = str(Path(__file__).parents[1])
    worker = Path(__file__).with_name("fetch_worker.py")
    return await asyncio.create_subprocess_exec(sys.executable, str(worker), env=env)


async def all_committed(settings: Settings, records: int) -> None:
    """Return when that many are done: what one that was killed had written is asked for again before that."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while sum((await committed(settings)).values()) < records:  # noqa: ASYNC110 - a group has no event
            await asyncio.sleep(0.2)


async def test_after_kill_9_at_any_moment_every_revision_has_its_record(quick: Settings, wiki: ApiServer) -> None:
    revisions = range(1, 301)
    for rev_id in revisions:
        wiki.put(rev_id, f"text {rev_id}", page_id=rev_id % 10)
    settings = quick.with_(requests_per_minute=600.0)
    await produce(
        settings,
        [
            logged(
                settings, event(n, f"text {n}", at_ms=OLD_MS, page_id=n % 10, parent_id=max(0, n - 10)), page_id=n % 10
            )
            for n in revisions
        ],
    )
    for requests in (1, 2, 4):
        worker = await start_worker(settings)
        seen = len(wiki.requests)
        async with asyncio.timeout(PATIENCE_SECONDS):
            await wiki.asked(seen + requests)
        worker.send_signal(signal.SIGKILL)
        await worker.wait()
    worker = await start_worker(settings)
    got = await contents(settings, 300)
    await all_committed(settings, 300)
    worker.send_signal(signal.SIGTERM)
    assert await worker.wait() == 0
    assert set(got) == set(revisions)
    assert all(record.revision.text == f"text {rev_id}" for rev_id, record in got.items())
    assert sum((await committed(settings)).values()) == 300


async def test_two_workers_share_the_partitions_and_lose_nothing_when_one_dies(
    make_settings: MakeSettings, wiki: ApiServer
) -> None:
    settings = await make_settings(
        content=wiki.template,
        linger_seconds=0.05,
        requests_per_minute=100_000.0,
        assign="group",
        partitions=4,
    )

    def some(of: range) -> list[Out]:
        for n in of:
            wiki.put(n, f"text {n}", page_id=n % 20)
        return [logged(settings, event(n, f"text {n}", at_ms=OLD_MS, page_id=n % 20), page_id=n % 20) for n in of]

    workers = [await start_worker(settings, CONTACT=name, INSTANCE=name) for name in ("one", "two")]
    try:
        sent = 0
        async with asyncio.timeout(PATIENCE_SECONDS):
            # Until both have asked: then both own partitions.
            while len({request.headers["user-agent"] for request in wiki.requests}) < 2:
                await produce(settings, some(range(sent + 1, sent + 21)))
                sent += 20
                await contents(settings, sent)
        await produce(settings, some(range(sent + 1, sent + 101)))
        workers[0].send_signal(signal.SIGKILL)
        await workers[0].wait()
        got = await contents(settings, sent + 100)
        await all_committed(settings, sent + 100)
    finally:
        for worker in workers:
            if worker.returncode is None:
                worker.send_signal(signal.SIGTERM)
                await worker.wait()
    assert set(got) == set(range(1, sent + 101))
    assert workers[1].returncode == 0
    assert sum((await committed(settings)).values()) == sent + 100


async def test_five_workers_together_have_three_requests_under_way_and_answer_all(
    make_settings: MakeSettings, wiki: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content_requests, "TURN_SECONDS", 2.0)
    monkeypatch.setattr(content_requests, "DEADLINE_SECONDS", 1.0)
    settings = await make_settings(
        content=wiki.template, linger_seconds=0.05, requests_per_minute=100_000.0, assign="group", partitions=10
    )
    count, names = 80, [f"worker-{n}" for n in range(5)]
    full = asyncio.Event()

    async def slow(request: Request, writer: asyncio.StreamWriter) -> None:
        # Until three have been under way at once: how long that takes is the machine's affair.
        if wiki.busiest >= 3:
            full.set()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(full.wait(), 0.7)
        await asyncio.sleep(0.05)
        await wiki.reply(request, writer)

    for n in range(1, count + 1):
        wiki.put(n, f"text {n}", page_id=n)
    wiki.replies = [slow] * 10_000
    stop = asyncio.Event()
    async with AsyncExitStack() as stack:
        own = [settings.with_(contact=name, instance=name) for name in names]
        workers = [fetch.Fetch(each, await stack.enter_async_context(ContentApi(each))) for each in own]
        tasks = [asyncio.create_task(worker.run(stop)) for worker in workers]
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not all(len(worker._log.owned) == 2 for worker in workers):  # noqa: ASYNC110 - a group has no event
                await asyncio.sleep(0.1)
        await produce(
            settings,
            [
                logged(settings, event(n, f"text {n}", at_ms=OLD_MS, page_id=n, wiki=f"w{n}"), page_id=n, wiki=f"w{n}")
                for n in range(1, count + 1)
            ],
        )
        assert len(await contents(settings, count)) == count
        await all_committed(settings, count)
        stop.set()
        await asyncio.gather(*tasks)
    assert wiki.busiest == 3
    assert len({request.headers["user-agent"] for request in wiki.requests}) == len(names)
