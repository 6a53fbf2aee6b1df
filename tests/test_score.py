"""`sluice score` over a real Kafka: the line runs on a made-up world, and the command says whether it kept to it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
from conftest import produce

from schemas.event import PAGE_CHANGE, rfc3339
from schemas.log import Policy
from schemas.reasons import Step
from streams import cluster
from streams.cli import main
from streams.eventstreams import SimulatedSource
from streams.kafka import Out, read_partition
from streams.ledger import dump_line as dumps
from streams.run import run_steps
from streams.score import judged
from streams.settings import Settings
from streams.topics import Topics
from streams.world import build_world, play
from streams.world_storm import storm

pytestmark = pytest.mark.kafka

# A world in which no signal that comes as an edit is due names the newer of two (`memory_line.objections`).
STATE = 12
SPEED = 4.0
AFTER_SECONDS = 14.0  # of the world: the longest window, its grace, and some


@dataclass(frozen=True)
class Ran:
    """A line that has come to rest, and the ledger of its world."""

    settings: Settings
    ledger: Path


async def run_line(
    kafka: str, folder: Path, *, random_state: int, speed: float, seconds: float = 8, stormy: bool = False
) -> Ran:
    path = folder / f"ledger-{random_state}-{speed:g}.ndjson"
    world = build_world(random_state, seconds=seconds, rate=6, tail_seconds=6)
    file = path.open("wb")
    source = SimulatedSource(world, ledger=world.ledger(file))
    await source.start()
    settings = Settings(
        kafka=kafka,
        topic_prefix=f"score{random_state}x{speed:g}",
        partitions=3,
        assign="all",
        metrics_port=0,
        source=source.url,
        content=source.content,
        since=rfc3339(world.begin_ms - 1000),
        policies=tuple(Policy(name=n, hold_seconds=h) for n, h in {"live": 0, "fast": 3, "careful": 8}.items()),
        grace_seconds=1.0,
        tick_seconds=0.25,
        linger_seconds=0.1,
        requests_per_minute=6000,
    )
    await cluster.create(settings)
    stop = asyncio.Event()
    steps = asyncio.create_task(run_steps(settings, list(Step), stop))
    weather = asyncio.create_task(storm(source, Random(random_state)) if stormy else asyncio.sleep(0))
    try:
        await play(world, source, speed=speed, after_seconds=AFTER_SECONDS)
        weather.cancel()
        file.flush()
        await judged(settings, path, wait_seconds=60)
    finally:
        weather.cancel()
        stop.set()
        await steps
        await source.stop()
        file.close()
    return Ran(settings, path)


@pytest.fixture(scope="module")
def ran(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    return asyncio.run(run_line(kafka, tmp_path_factory.mktemp("score"), random_state=STATE, speed=SPEED))


@pytest.fixture
def env(ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value, _ in ran.settings.described():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("env")
def test_a_line_that_kept_to_its_world_scores_0_and_says_so_within_80_columns(ran, capsys):
    assert main(["score", str(ran.ledger)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "holds: the line did exactly what follows from the ledger"
    assert len([line for line in lines if line.startswith("holds ")]) == 9
    assert max(map(len, lines)) <= 80


@pytest.mark.usefixtures("env")
def test_for_machines_it_says_the_same_as_json(ran, capsys):
    assert main(["score", "--json", str(ran.ledger)]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["perfect"] is True
    assert (said["unfinished"], said["disagreements"]) == ([], [])
    assert all(check["looked_at"] and not check["wrong"] for check in said["checks"].values())


@pytest.mark.usefixtures("env")
def test_a_world_that_goes_on_is_not_finished_and_nothing_is_held_against_the_line(ran, tmp_path, capsys):
    lines = [json.loads(line) for line in ran.ledger.read_bytes().splitlines()]
    offered = [line for line in lines if line["kind"] == "offered"]
    edits = [line for line in offered if line["topic"].endswith(PAGE_CHANGE)]
    edit = next(line for line in edits if line["event"]["meta"]["domain"] != "canary")
    edit["at_ms"], edit["offset"], edit["event"]["meta"]["id"] = offered[-1]["at_ms"], 10**6, "one-more"
    ledger = tmp_path / "ledger.ndjson"
    ledger.write_bytes(ran.ledger.read_bytes() + dumps(edit))
    assert main(["score", "--wait", "0", str(ledger)]) == 1
    said = capsys.readouterr().out
    assert "not finished: the source has not read 1 events yet" in said
    assert "FAILS" not in said


@pytest.mark.usefixtures("env")
@pytest.mark.parametrize("content", [b"", b'{"kind":"did"}\n', b"no json\n"])
def test_what_is_no_ledger_ends_with_code_2(content, tmp_path, capsys):
    ledger = tmp_path / "ledger.ndjson"
    ledger.write_bytes(content)
    assert main(["score", str(ledger)]) == 2
    assert "ledger" in capsys.readouterr().err
    assert main(["score", str(tmp_path / "absent")]) == 2


@pytest.mark.usefixtures("env")
def test_a_release_that_a_partner_gets_twice_ends_with_code_1_and_the_history_of_its_page(ran, capsys):
    topic = Topics(ran.settings).edits("fast")
    first = next(r for r in asyncio.run(read_partition(ran.settings, topic, 0)) if r.key.endswith(b":release"))
    asyncio.run(produce(ran.settings, [Out(topic=topic, key=first.key, value=first.value, partition=0)]))
    assert main(["score", str(ran.ledger)]) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "C2 duplicates: release of " in said
    assert "a partner got it twice" in said
    page = b":".join(first.key.split(b":")[:2]).decode()
    assert f"history of page {page} on 2026-01-05" in said


@pytest.mark.soak
@pytest.mark.parametrize("speed", [1.0, 4.0, 0.0])
@pytest.mark.parametrize("random_state", range(1, 21))
def test_twenty_worlds_at_three_speeds_score_perfect(kafka, tmp_path, random_state, speed):
    made = asyncio.run(run_line(kafka, tmp_path, random_state=100 + random_state, speed=speed, seconds=20))
    _, found = asyncio.run(judged(made.settings, made.ledger, wait_seconds=60))
    asyncio.run(cluster.delete(made.settings))
    assert (found.disagreements, found.unfinished) == ((), ())


@pytest.mark.soak
@pytest.mark.parametrize("random_state", range(1, 6))
def test_a_world_in_a_storm_scores_perfect(kafka, tmp_path, random_state):
    ran = run_line(kafka, tmp_path, random_state=200 + random_state, speed=1.0, seconds=30, stormy=True)
    made = asyncio.run(ran)
    _, found = asyncio.run(judged(made.settings, made.ledger, wait_seconds=120))
    asyncio.run(cluster.delete(made.settings))
    assert (found.disagreements, found.unfinished) == ((), ())
