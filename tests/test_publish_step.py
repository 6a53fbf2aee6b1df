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


SECRET = "a-telephone-number"


def quoting(settings: Settings, rev: int, delta: str = SECRET) -> Out:
    """Content of an edit that quotes its parent."""
    out = enriched(settings, rev)
    doc = orjson.loads(out.value or b"") | {"delta": {"words": delta}, "delta_absent": None, "data_delta": None}
    return out._replace(value=orjson.dumps(doc))


def gone(settings: Settings, rev: int, **left: bytes) -> Out:
    key = record_key("enwiki", 7, rev)
    return Out(topic=Topics(settings).enriched, key=key, value=None, partition=0, headers=list(left.items()))


async def nobody_reads_it(settings: Settings) -> bool:
    """Whether the newest record under each key says nothing that was hidden."""
    topics = Topics(settings)
    for topic in (topics.edits("live"), topics.pages("live")):
        last = {record.key: record.value or b"" for record in await read_all(settings, topic)}
        if any(SECRET.encode() in value for value in last.values()):
            return False
    return True


@pytest.mark.parametrize("at_once", [False, True])
async def test_what_is_hidden_goes_also_where_it_was_taken_back_before_and_the_edit_after_it_stays_without_it(
    settings, at_once
):
    topics = Topics(settings)
    bad = enriched(settings, 1)._replace(value=enriched(settings, 1).value.replace(b"text 1", SECRET.encode()))
    came, hidden = [bad, quoting(settings, 2)], [gone(settings, 1), gone(settings, 2, left=b"something")]
    await produce(settings, [decisions(settings, decision(1, State.RELEASED), decision(2, State.RELEASED))])
    await run_until(settings, at_least(settings, topics.publish_state, 1))
    if not at_once:
        await produce(settings, [*came, decisions(settings, decision(1, State.RETRACTED, reason=Bar.REVERTED))])
        await run_until(settings, at_least(settings, topics.edits("live"), 3))
    # Another process then knows from the topic alone what went out; at once, nobody could read it before.
    await produce(settings, [*came, *hidden] if at_once else hidden)
    await run_until(settings, at_least(settings, topics.edits("live"), 6 if not at_once else 5))
    await read_all(settings, topics.pages("live"))
    assert await nobody_reads_it(settings)
    edits = await read_all(settings, topics.edits("live"))
    last = {record.key.decode(): record.value for record in edits}
    assert last["enwiki:7:1:0:release"] is None
    assert ("enwiki:7:1:0:retract" in last) is not at_once
    left = orjson.loads(last["enwiki:7:2:0:release"])
    assert (left["content"], left["delta"], left["delta_absent"]) == ({"abstract": "text 2"}, None, "hidden")
    assert left["meta"] == orjson.loads(next(r.value for r in edits if r.key == b"enwiki:7:2:0:release"))["meta"]
    pages = await read_all(settings, topics.pages("live"))
    page = orjson.loads(pages[-1].value)
    assert page == left | {"meta": left["meta"] | {"stream": topics.pages("live")}}


async def test_content_that_comes_again_without_its_hidden_parent_is_enough_to_say_the_edit_anew(settings):
    topics = Topics(settings)
    await produce(settings, [quoting(settings, 2), decisions(settings, decision(2, State.RELEASED))])
    await run_until(settings, at_least(settings, topics.edits("live"), 1))
    again = orjson.loads(enriched(settings, 2).value) | {"delta_absent": "hidden"}
    await produce(settings, [enriched(settings, 2)._replace(value=orjson.dumps(again))])
    await run_until(settings, lambda: nobody_reads_it(settings))
    edits = [record.value for record in await read_all(settings, topics.edits("live"))]
    assert [value is None for value in edits] == [False, True, False]
    assert orjson.loads(edits[2])["meta"] == orjson.loads(edits[0])["meta"]


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
