"""The store on disk: it decides like memory does, bounded, and is thrown away where it cannot be trusted."""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import MakeSettings, read_all
from histories import END, FULL, Entry, Writer, by_page, random_log, run, shard_of
from test_gate_step import control, decided, edit, produce, run_until, tick

from processors.digest import ref_number
from processors.shard import Shard
from processors.store import Row
from schemas.log import KIND_CONTROL, InvalidRecord, encode_policies
from schemas.page import MARK_KEY, When
from schemas.page_record import VERSION, decode_page
from streams.disk import Disk
from streams.gate import Gate
from streams.settings import Settings
from streams.topics import Topics


def opened(folder: Path, *, topic: str = "kafka/state/0", now_s: float = 1000.0) -> Disk:
    return Disk(folder / "0.db", topic=topic, now_s=now_s, stale_s=500.0)


def the_end() -> list[Entry]:
    writer = Writer(at=END)
    writer.tick(0)
    return writer.log


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    with opened(tmp_path) as made:
        yield made


def test_a_store_on_disk_with_two_pages_in_use_decides_like_memory(disk):
    log = [*random_log(3), *the_end()]
    shard = Shard(store=disk, hot_pages=2)
    shard.apply(KIND_CONTROL, encode_policies(FULL))
    made = []
    for entry in log:
        made += run(shard, [entry])
        shard.flush(shard.changed())
        assert len(shard.hot) <= 2 or entry[2] == 0
    assert by_page(made) == by_page(run(shard_of(FULL), log))
    assert shard.pending == disk.pending() == 0


def test_a_store_that_is_opened_again_goes_on_where_it_was(tmp_path):
    log = random_log(4)
    whole = run(shard_of(FULL), log)
    made = []
    for at in range(0, len(log), 40):
        with opened(tmp_path) as disk:
            shard = Shard(store=disk)
            if at:
                shard.restore(disk.beside(), ())
            else:
                shard.apply(KIND_CONTROL, encode_policies(FULL))
            made += run(shard, log[at : at + 40])
            disk.commit(shard.changed(), shard.beside, at, 1000.0)
    assert by_page(made) == by_page(whole)


@pytest.mark.parametrize(("topic", "now_s"), [("kafka/other/0", 1000.0), ("kafka/state/0", 1600.0)])
def test_a_store_of_another_topic_or_older_than_tombstones_is_made_anew(topic, now_s, tmp_path):
    with opened(tmp_path) as disk:
        disk.commit(
            {("enwiki", 7): Row(b"[]", When(1, 5, 3, frozenset({ref_number("u:x")})))},
            {b"~policies": b"{}"},
            12,
            1000.0,
        )
    with opened(tmp_path, now_s=1499.0) as disk:
        assert (disk.count(), disk.next_offset, disk.pending()) == (1, 12, 3)
        assert list(disk.due(5)) == list(disk.named("u:x")) == list(disk.every()) == [("enwiki", 7)]
    with opened(tmp_path, topic=topic, now_s=now_s) as disk:
        assert (disk.count(), disk.next_offset, disk.beside()) == (0, 0, [])


def test_a_file_that_is_no_database_is_made_anew(tmp_path):
    (tmp_path / "0.db").write_bytes(b"no database at all, but long enough to be looked at as one" * 99)
    with opened(tmp_path) as disk:
        assert disk.count() == 0


def test_a_state_record_from_a_newer_version_stops_the_gate_rather_than_being_lost():
    with pytest.raises(InvalidRecord, match=f"version {VERSION + 1}; we read version {VERSION}"):
        decode_page(b"[%d]" % (VERSION + 1))


@pytest.mark.kafka
async def test_the_gate_starts_from_its_folder_and_from_the_topic_alone_alike(make_settings: MakeSettings, tmp_path):
    settings = await make_settings(partitions=1, state=str(tmp_path))
    for round_number in range(1, 4):
        rev = 10 * round_number
        start = [control(settings)] if round_number == 1 else []
        at = 100.0 * round_number
        await produce(settings, [*start, edit(settings, rev, at), tick(settings, rev, at + 10)])
        if round_number == 3:
            shutil.rmtree(tmp_path / "gate")

        async def heard(count: int = round_number) -> bool:
            return (
                sum(state == "released" and policy == "live" for _, policy, state in await decided(settings)) >= count
            )

        await run_until(settings, heard)
        assert (tmp_path / "gate" / f"{Topics(settings).gate_state}-0.db").exists()
    await produce(settings, [tick(settings, 99, 10_000)])

    async def all_out() -> bool:
        return len(await decided(settings)) >= 6

    await run_until(settings, all_out)
    assert sorted(await decided(settings)) == sorted(
        (rev, policy, "released") for rev in (10, 20, 30) for policy in ("live", "fast")
    )
    assert await read_all(settings, Topics(settings).deadletter) == []


@pytest.mark.kafka
async def test_a_partition_is_taken_up_from_the_topic_without_a_look_into_pages_that_it_says_all_of(
    make_settings: MakeSettings, tmp_path, monkeypatch
):
    settings = await make_settings(partitions=1, state=str(tmp_path / "one"))
    await produce(settings, [control(settings), *(edit(settings, rev, rev, page=rev) for rev in range(1, 6))])

    async def all_live() -> bool:
        return len(await decided(settings)) >= 5

    await run_until(settings, all_live)
    looked: list[bytes] = []
    monkeypatch.setattr("processors.shard.decode_page", lambda value: looked.append(value) or decode_page(value))

    async def taken_up(settings: Settings) -> tuple[int, int]:
        looked.clear()
        made = Gate(settings)
        await made.own(0)
        pending = made._shards[0].pending
        made.lost(0)
        return pending, len(looked)

    # From its folder, from the topic alone into a new one, and without a folder.
    for folder in ("one", "two", ""):
        assert await taken_up(settings.with_(state=folder and str(tmp_path / folder))) == (5, 0)

    # One that was killed when it had read some of the topic, of which it knew nothing more; and other policies.
    records = await read_all(settings, Topics(settings).gate_state)
    beside = {record.key: record.value for record in records if record.key.startswith(b"~")}
    page = next(record for record in records if record.key == b"enwiki:3")
    right = int(beside[MARK_KEY])
    for folder, mark, expected in (("three", right, (5, 1)), ("four", right + 1, (5, 5))):
        settings = settings.with_(state=str(tmp_path / folder))
        path = tmp_path / folder / "gate" / f"{Topics(settings).gate_state}-0.db"
        name = f"{settings.kafka}/{Topics(settings).gate_state}/0"
        with Disk(path, topic=name, now_s=time.time(), stale_s=1e9) as disk:
            rows = {("enwiki", n): Row(page.value.replace(b'"enwiki",3', b'"enwiki",%d' % n)) for n in (1, 2, 3)}
            disk.commit(rows, beside, page.offset + 1, time.time(), mark)
            known = {key: Row(row.value, When(mark, 1, 1)) for key, row in rows.items() if key[1] < 3}
            disk.write(known)
        assert await taken_up(settings) == expected
        assert await taken_up(settings) == (5, 0)


def test_what_is_due_is_given_once_until_something_is_written_since_it_is_in_use_until_then(disk):
    disk.write({("w", n): Row(b"", When(1, at_ms)) for n, at_ms in ((1, 10), (2, 20), (3, 20), (4, 30))})
    assert [list(disk.due(until_ms)) for until_ms in (10, 5, 20, 20)] == [[("w", 1)], [], [("w", 2), ("w", 3)], []]
    disk.write({})
    assert list(disk.due(20)) == [("w", 1), ("w", 2), ("w", 3)]


def test_the_store_keeps_count_of_its_pages_and_of_what_waits_on_them(tmp_path):
    chooser, kept = random.Random(5), {}
    with opened(tmp_path) as disk:
        for _ in range(60):
            rows = {("w", chooser.randrange(40)): chooser.choice([None, 0, 1, 5]) for _ in range(5)}
            disk.write({key: None if n is None else Row(b"x", When(1, n, n)) for key, n in rows.items()})
            kept = {key: n for key, n in (kept | rows).items() if n is not None}
            assert (disk.count(), disk.pending()) == (len(kept), sum(kept.values()))
        disk.commit({}, {}, 1, 1000.0)
    with opened(tmp_path) as disk:
        assert (disk.count(), disk.pending()) == (len(kept), sum(kept.values()))
