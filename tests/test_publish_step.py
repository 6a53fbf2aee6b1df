"""The publish step on a real Kafka: the join, the topics of each policy, retractions and tombstones."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import orjson
import pytest
from conftest import all_readable, produce, read_all

from schemas.content import record_key
from schemas.decision import Decision, encode_decisions
from schemas.log import Policy
from schemas.reasons import Bar, State
from streams import metrics, publish
from streams.kafka import Out, header
from streams.settings import Settings
from streams.topics import Topics

pytestmark = pytest.mark.kafka


def decision(rev: int, state: State, policy: str = "live", reason: Bar | None = None) -> Decision:
    return Decision(
        policy=policy,
        wiki="enwiki",
        page_id=7,
        rev_id=rev,
        epoch=0,
        state=state,
        reason=reason,
        event_id=f"event-{rev}",
        start_ms=rev,
        hold_ms=0,
        fire_ms=rev,
        decided_for_ms=rev,
    )


def decisions(settings: Settings, *made: Decision) -> Out:
    return Out(topic=Topics(settings).decisions, key=b"any", value=encode_decisions(made), partition=0)


def enriched(settings: Settings, rev: int) -> Out:
    doc = {
        "wiki": "enwiki",
        "page_id": 7,
        "rev_id": rev,
        "change": {
            "domain": "en.wikipedia.org",
            "event_id": f"event-{rev}",
            "page": {"id": 7, "namespace": 0, "title": "Loch Ness"},
            "uri": "https://en.wikipedia.org/wiki/Loch_Ness",
        },
        "content": {"abstract": f"text {rev}"},
        "content_absent": None,
        "delta": None,
        "delta_absent": "no_parent",
        "provenance": {},
    }
    key = record_key("enwiki", 7, rev)
    return Out(topic=Topics(settings).enriched, key=key, value=orjson.dumps(doc), partition=0)


async def run_until(settings: Settings, done: Callable[[], Awaitable[bool]]) -> None:
    stop = asyncio.Event()
    task = asyncio.create_task(publish.run(settings, stop))
    try:
        async with asyncio.timeout(60):
            while not await done():
                assert not task.done(), task.result()
                await asyncio.sleep(0.1)
    finally:
        stop.set()
        await task
    await all_readable(settings)


def at_least(settings: Settings, topic: str, count: int) -> Callable[[], Awaitable[bool]]:
    async def done() -> bool:
        return len(await read_all(settings, topic)) >= count

    return done


async def test_a_release_goes_out_with_its_content_whichever_came_first(settings):
    topics = Topics(settings)
    await produce(settings, [decisions(settings, decision(1, State.RELEASED)), enriched(settings, 2)])
    await produce(settings, [decisions(settings, decision(2, State.RELEASED)), enriched(settings, 1)])
    await run_until(settings, at_least(settings, topics.edits("live"), 2))
    edits = await read_all(settings, topics.edits("live"))
    assert [record.key for record in edits] == [b"enwiki:7:1:0:release", b"enwiki:7:2:0:release"]
    assert [orjson.loads(record.value)["content"]["abstract"] for record in edits] == ["text 1", "text 2"]
    pages = await read_all(settings, topics.pages("live"))
    assert [record.key for record in pages] == [b"enwiki:7", b"enwiki:7"]
    newest = metrics.REGISTRY.get_sample_value("sluice_last_event_timestamp_seconds", {"step": "publish"})
    assert newest == decision(2, State.RELEASED).decided_for_ms / 1000


async def test_content_that_left_memory_is_read_again_from_its_topic(settings, monkeypatch):
    monkeypatch.setattr(publish.Contents.__init__, "__kwdefaults__", {"keep_bytes": 0})
    await test_a_release_goes_out_with_its_content_whichever_came_first(settings)


async def test_what_waits_survives_a_restart(settings):
    topics = Topics(settings)
    await produce(settings, [enriched(settings, 1)])
    await run_until(settings, at_least(settings, topics.publish_state, 1))
    await produce(settings, [decisions(settings, decision(1, State.RELEASED))])
    await run_until(settings, at_least(settings, topics.edits("live"), 1))
    assert len(await read_all(settings, topics.edits("live"))) == 1


async def test_a_retraction_is_sent_before_the_tombstone_of_the_page_and_erases_what_was_hidden(settings):
    topics = Topics(settings)
    made = [
        decision(1, State.RELEASED),
        decision(2, State.RELEASED),
        decision(2, State.RETRACTED, reason=Bar.SUPPRESSED),
        decision(1, State.RETRACTED, reason=Bar.REVERTED),
    ]
    await produce(settings, [enriched(settings, 1), enriched(settings, 2), decisions(settings, *made)])
    await run_until(settings, at_least(settings, topics.edits("live"), 5))
    edits = [(record.key.decode(), record.value is None) for record in await read_all(settings, topics.edits("live"))]
    assert edits == [
        ("enwiki:7:1:0:release", False),
        ("enwiki:7:2:0:release", False),
        ("enwiki:7:2:0:retract", False),
        ("enwiki:7:2:0:release", True),
        ("enwiki:7:1:0:retract", False),
    ]
    pages = await read_all(settings, topics.pages("live"))
    assert [record.value is None for record in pages] == [False, False, True]


async def test_each_policy_has_its_own_topics(make_settings):
    policies = (Policy(name="live", hold_seconds=0), Policy(name="fast", hold_seconds=300))
    settings = await make_settings(policies=policies)
    topics = Topics(settings)
    made = [decision(1, State.RELEASED), decision(1, State.RELEASED, policy="fast")]
    await produce(settings, [enriched(settings, 1), decisions(settings, *made)])
    await run_until(settings, at_least(settings, topics.edits("fast"), 1))
    (live,) = await read_all(settings, topics.edits("live"))
    (fast,) = await read_all(settings, topics.edits("fast"))
    assert orjson.loads(live.value)["meta"]["stream"] == topics.edits("live")
    assert orjson.loads(live.value)["meta"]["id"] != orjson.loads(fast.value)["meta"]["id"]


async def test_unreadable_records_of_either_input_are_set_aside_and_the_line_goes_on(settings):
    topics = Topics(settings)
    bad = [
        Out(topic=topics.enriched, key=b"x", value=b"{", partition=0),
        Out(topic=topics.decisions, key=b"x", value=b'{"decisions": [{}]}', partition=0),
    ]
    await produce(settings, [*bad, enriched(settings, 1), decisions(settings, decision(1, State.RELEASED))])
    await run_until(settings, at_least(settings, topics.edits("live"), 1))
    letters = await read_all(settings, topics.deadletter)
    assert {(letter.value, header(letter, "reason")) for letter in letters} == {
        (b"{", b"wrong_record"),
        (b'{"decisions": [{}]}', b"wrong_record"),
    }


async def test_a_release_whose_content_is_gone_is_kept_as_a_dead_letter(settings):
    topics = Topics(settings)
    contents = publish.Contents(settings, topics.enriched, keep_bytes=0)
    await produce(settings, [enriched(settings, 1)])
    try:
        with pytest.raises(LookupError):
            await contents.read(0, 0, decision(1, State.RELEASED)._replace(event_id="another"))
    finally:
        await contents.close()
