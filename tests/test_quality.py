"""How good each policy was: folded from decisions, agreed with the oracle, written and read back through Kafka."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from random import Random

import jsonschema_rs
import orjson
import pytest
from conftest import produce
from memory_line import MemoryLine, told
from test_publish_step import at_least, decision, decisions, enriched, run_until

from processors import oracle_quality
from processors.oracle_ledger import read_ledger
from processors.quality import MEASURED, Book, Measures, differences, promised, quantile, rounded, summed, table
from schemas.decision import Decision, Signal
from schemas.log import InvalidRecord
from schemas.quality import Quality, decode_quality, encode_quality
from schemas.reasons import Bar, SignalKind, State
from streams import quality, wiki_curve
from streams.cli import main
from streams.kafka import Out
from streams.topics import DAY_MS, Topics

SCHEMA = orjson.loads((Path(__file__).parents[1] / "schemas" / "quality" / "1.0.0.json").read_bytes())
MINUTE_MS = 60_000


def made(state: State, reason: Bar | None = None, *, start: int = 0, fire: int = 6, at: int = 6, **more) -> Decision:
    """Times in minutes."""
    times = {"start_ms": start * MINUTE_MS, "fire_ms": fire * MINUTE_MS, "decided_for_ms": at * MINUTE_MS}
    return decision(1, state, reason=reason)._replace(**times, **more)


def measured(*found: Decision) -> Measures:
    book = Book()
    book.hear(found)
    (row,) = summed(book.rows.values()).values()
    return Measures(row)


def test_each_measure_is_what_its_name_says():
    #  bad, undone after 2 min, kept away        bad, out after 6 min, undone after 30        two good ones, out after 6
    m = measured(
        made(State.WITHHELD, Bar.REVERTED, at=2),
        made(State.RELEASED),
        made(State.RETRACTED, Bar.REVERTED, at=30),
        made(State.RELEASED),
        made(State.RELEASED, start=10, fire=16, at=16),
        made(State.WITHHELD, Bar.RISK),
    )
    assert (m.edits, m.bad, m.kept_away, m.retractions, m.good_lost) == (5, 2, 1, 1, 1)
    assert (m.protection, m.leak) == (0.5, 1 / 3)
    assert m.exposure == (30 - 6) / (30 + 2)
    assert m.good_delay_ms == 6 * MINUTE_MS
    assert m.good_delay_quantile_ms(0.5) == pytest.approx(6 * MINUTE_MS, rel=1 / 30)
    assert m.lag_quantile_ms(0.99) == pytest.approx(24 * MINUTE_MS, rel=1 / 30)


def test_a_self_revert_is_no_damage_and_no_superseding_and_a_later_epoch_counts_nowhere():
    undone = Signal(kind=SignalKind.IDENTITY_REVERT, event_id="x", at_ms=1, by_rev_id=2, by_self=True)
    m = measured(
        made(State.SUPERSEDED, superseded_by=2, signals=(undone,)),
        made(State.SUPERSEDED, superseded_by=3),
        made(State.RELEASED, epoch=1),
    )
    assert (m.edits, m.row.self_reverted, m.row.superseded, m.bad, m.protection, m.leak) == (2, 1, 1, 0, None, None)


def test_a_retraction_counts_on_the_day_of_its_edit_however_late_it_comes():
    book = Book()
    book.hear([made(State.RELEASED)])
    changed = book.hear([made(State.RETRACTED, Bar.REVERTED, at=29 * 24 * 60)])
    assert changed == {("live", "1970-01-01")}
    assert Measures(book.rows["live", "1970-01-01"]).leak == 1


def test_rows_add_up_over_any_split_into_partitions_and_days():
    random = Random(1)
    every = []
    for _ in range(300):
        state, at = random.choice([State.RELEASED, State.WITHHELD, State.RETRACTED]), random.randrange(9000)
        late, policy = random.randrange(99), random.choice(["a", "b"])
        every.append(made(state, Bar.REVERTED, start=at, fire=at + 6, at=at + 6 + late, policy=policy))
    parts = [Book() for _ in range(3)]
    for each in every:
        random.choice(parts).hear([each])
    whole = Book()
    whole.hear(every)
    ours, theirs = summed(row for part in parts for row in part.rows.values()), summed(whole.rows.values())
    assert ours == theirs
    assert (
        sum(Measures(row).edits for row in ours.values()) + sum(Measures(r).retractions for r in ours.values()) == 300
    )


def test_a_row_is_read_back_as_it_was_written_and_keeps_to_its_schema():
    validator = jsonschema_rs.validator_for(SCHEMA)
    book = Book()
    book.hear([made(State.RELEASED), made(State.RETRACTED, Bar.SUPPRESSED, at=9), made(State.WITHHELD, Bar.RISK)])
    (row,) = book.rows.values()
    assert decode_quality(encode_quality(row)) == row
    for doc in (orjson.loads(encode_quality(row)), *SCHEMA["examples"]):
        validator.validate(doc)
    for name in SCHEMA["properties"]:
        doc = orjson.loads(encode_quality(row))
        del doc[name]
        assert not validator.is_valid(doc)
        if name != "$schema":
            with pytest.raises(InvalidRecord):
                decode_quality(orjson.dumps(doc))


def test_the_oldest_day_goes_when_there_are_too_many(monkeypatch):
    monkeypatch.setattr("processors.quality.MOST_DAYS", 2)
    book = Book()
    book.hear([made(State.RELEASED, start=day * 24 * 60) for day in (1, 2)])
    assert book.hear([made(State.RELEASED, start=3 * 24 * 60)]) == {("live", "1970-01-02"), ("live", "1970-01-04")}
    assert [day for _, day in book.rows] == ["1970-01-03", "1970-01-04"]


def test_a_time_is_rounded_by_less_than_a_sixteenth_and_a_quantile_is_off_by_less_than_a_thirtieth():
    for ms in [*range(200), *(Random(2).randrange(10**10) for _ in range(500))]:
        assert ms - ms / 16 <= rounded(ms) <= ms
        assert quantile({rounded(ms): 3}, 0.5) == pytest.approx(ms, rel=1 / 30, abs=1)
    assert quantile({}, 0.5) is None
    assert [quantile({1: 1, 2: 8, 3: 1}, part) for part in (0.1, 0.5, 0.9, 1.0)] == [1, 2, 2, 3]


def test_a_promise_is_the_measured_curve_and_grows_with_the_hold():
    assert [(s, 100 * share) for s, share in MEASURED] == [
        (60 * minutes, percent) for minutes, percent in zip(wiki_curve.MINUTES, wiki_curve.MEASURED["all"], strict=True)
    ]
    holds = [0, 0.5, 30, 60, 100, 300, 3600, 50_000, 86_400, 604_800, 10**7]
    assert [promised(hold) for hold in holds] == sorted(promised(hold) for hold in holds)
    assert (promised(0), promised(300), promised(10**7)) == (0, 0.49, 0.999)


@pytest.mark.parametrize("random_state", [1, 3])
def test_on_a_simulated_world_every_number_is_what_the_oracle_computes_from_the_events(random_state):
    line = MemoryLine(told(random_state))
    score = line.score()
    last = {(record.partition, record.key): record.value for record in line.kept[line.topics.quality]}
    rows = summed(decode_quality(value) for value in last.values())
    truth = read_ledger(io.BytesIO(line.told.ledger))
    theirs = oracle_quality.quality(truth, (each.decision for each in score.decided), oracle_quality.told(score.fates))
    assert {each.policy for each in theirs} == {"live", "fast", "careful"} == set(rows)
    for each in theirs:
        m = Measures(rows[each.policy])
        assert (m.edits, m.bad, m.row.released, m.retractions) == (each.edits, each.bad, each.out, each.retractions)
        assert (m.protection, m.leak, m.exposure) == pytest.approx((each.protection, each.leak, each.exposure))
        assert (m.row.exposed_ms, m.row.stood_ms, m.good_lost) == (each.exposure_ms, each.stood_ms, each.good_lost)
        assert m.good_delay_ms == each.delay_mean_ms
        assert m.good_delay_quantile_ms(0.5) == pytest.approx(each.delay_median_ms, rel=1 / 30)
        assert m.bad > 20


def test_what_the_world_knows_and_the_oracle_was_told_differ_by_what_nobody_undid():
    line = MemoryLine(told(1))
    score = line.score()
    truth = read_ledger(io.BytesIO(line.told.ledger))
    known = oracle_quality.told(score.fates)["live"]
    bad = {(did.wiki, did.rev_id) for did in truth.did if did.what == "vandalism"}
    undone = oracle_quality.undone_in(truth)
    assert bad & known.keys()
    assert all(revision not in undone or undone[revision][0] is not None for revision in bad - known.keys())


# On a real Kafka.


@pytest.mark.kafka
async def test_rows_are_written_with_what_is_published_and_the_next_owner_goes_on_from_them(settings):
    topics = Topics(settings)
    await produce(settings, [enriched(settings, 1), decisions(settings, decision(1, State.RELEASED))])
    await run_until(settings, at_least(settings, topics.quality, 1))
    retracted = decision(1, State.RETRACTED, reason=Bar.REVERTED)
    await produce(settings, [decisions(settings, retracted._replace(decided_for_ms=5001))])
    await run_until(settings, at_least(settings, topics.quality, 2))
    (row,) = (await quality.read_rows(settings)).rows
    assert (row.released, row.retracted, row.exposed_ms) == (1, {"reverted": 1}, 5000)
    assert (await quality.read_rows(settings, check=True)).different == []


@pytest.mark.kafka
async def test_where_the_rows_are_gone_they_are_folded_anew_from_the_decisions(settings):
    topics = Topics(settings)
    await produce(settings, [decisions(settings, decision(1, State.WITHHELD, reason=Bar.REVERTED))])
    await run_until(settings, at_least(settings, topics.quality, 1))
    gone = Out(topic=topics.quality, key=Quality(policy="live", day="1970-01-01").key, value=None, partition=0)
    next_day = decision(2, State.WITHHELD, reason=Bar.REVERTED)._replace(start_ms=DAY_MS, decided_for_ms=DAY_MS + 1)
    await produce(settings, [gone, decisions(settings, next_day)])
    await run_until(settings, at_least(settings, topics.quality, 4))
    checked = await quality.read_rows(settings, check=True)
    assert [(row.day, row.withheld) for row in checked.rows] == [
        ("1970-01-01", {"reverted": 1}),
        ("1970-01-02", {"reverted": 1}),
    ]
    assert checked.different == []


@pytest.mark.kafka
async def test_the_command_prints_the_table_and_fails_where_rows_are_not_what_the_decisions_say(
    settings, monkeypatch, capsys
):
    monkeypatch.setenv("SLUICE_KAFKA", settings.kafka)
    monkeypatch.setenv("SLUICE_TOPIC_PREFIX", settings.topic_prefix)
    monkeypatch.setenv("SLUICE_PARTITIONS", str(settings.partitions))
    topics = Topics(settings)
    await produce(settings, [enriched(settings, 1), decisions(settings, decision(1, State.RELEASED))])
    await run_until(settings, at_least(settings, topics.quality, 1))
    assert await asyncio.to_thread(main, ["quality", "--check"]) == 0
    printed = capsys.readouterr()
    (row,) = (await quality.read_rows(settings)).rows
    assert printed.out == table([row]) + "\n"
    assert "0 differences" in printed.err
    row.released += 1
    wrong = Out(
        topic=topics.quality, key=row.key, value=encode_quality(row), partition=0, headers=[("next_offset", b"1")]
    )
    await produce(settings, [wrong])
    assert await asyncio.to_thread(main, ["quality", "--check", "--json"]) == 1
    printed = capsys.readouterr()
    assert orjson.loads(printed.out)["policies"][0]["released"] == 2
    assert "live 1970-01-01: released is 2, folded anew 1" in printed.err
    assert await asyncio.to_thread(main, ["quality", "--since", "1970-01-02"]) == 0


def test_two_books_differ_in_words():
    ours, anew = Book(), Book()
    ours.hear([made(State.RELEASED)])
    assert differences(ours.rows, ours.rows) == []
    assert differences(ours.rows, anew.rows) == ["live 1970-01-01: a row, but no decisions"]
    assert differences(anew.rows, ours.rows) == ["live 1970-01-01: no row, but decisions"]
    anew.hear([made(State.RELEASED, at=7)])
    assert differences(ours.rows, anew.rows) == [
        "live 1970-01-01: waited_ms is 360000, folded anew 420000",
        f"live 1970-01-01: waits is {{{rounded(360_000)}: 1}}, folded anew {{{rounded(420_000)}: 1}}",
    ]
