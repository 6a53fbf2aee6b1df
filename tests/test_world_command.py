"""`sluice world` as its user meets it: two lines to paste, a ledger, bad weather, and a clean end."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import orjson
import pytest

from schemas.event import PAGE_CHANGE, milliseconds, rfc3339
from streams.cli import main
from streams.eventstreams import SimulatedSource
from streams.run import MISCONFIGURED
from streams.settings import Settings
from streams.world import build_world, play
from streams.world_storm import BLOWS, blow, storm

ROOT = Path(__file__).parents[1]
COMMAND = [sys.executable, "-m", "streams.cli", "world", "--port", "0"]


async def begun(*arguments: str) -> tuple[asyncio.subprocess.Process, Settings]:
    """The command, once it serves, and settings of what it printed."""
    run = await asyncio.create_subprocess_exec(
        *COMMAND, *arguments, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    assert run.stdout is not None
    printed = [(await run.stdout.readline()).decode().strip() for _ in range(2)]
    assert [line.partition("=")[0] for line in printed] == ["SLUICE_SOURCE", "SLUICE_CONTENT"]
    return run, Settings.from_env(dict(line.split("=", 1) for line in printed))  # type: ignore[arg-type]


async def read(url: str, count: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    async with aiohttp.ClientSession(read_bufsize=2**20) as session, session.get(url) as response:
        async for line in response.content:
            if line.startswith(b"data: "):
                found.append(orjson.loads(line[6:]))
                if len(found) == count:
                    break
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_settings_that_it_prints_lead_to_its_streams_and_its_apis_and_a_signal_ends_it_cleanly(
    tmp_path, number
):
    ledger = tmp_path / "ledger.ndjson"
    run, settings = await begun("--hours", "1", "--speed", "20", "--wikis", "5", "--ledger", str(ledger))
    found = await read(f"{settings.source}/v2/stream/{PAGE_CHANGE}?since=0", 20)
    change = next(event for event in found if event["meta"]["domain"] != "canary")
    url = settings.content.replace("{domain}", change["meta"]["domain"])
    given = {"action": "query", "prop": "revisions", "revids": str(change["revision"]["rev_id"]), "rvprop": "ids"}
    async with aiohttp.ClientSession() as session, session.get(url, params=given) as response:
        assert response.status == 200
    run.send_signal(number)
    out, err = await run.communicate()
    assert run.returncode == 0, err
    assert b"stopped at" in out
    lines = [orjson.loads(line) for line in ledger.read_bytes().splitlines()]
    kinds = Counter(line["kind"] for line in lines)
    assert lines[0]["kind"] == "world"
    assert lines[0]["wikis"] == ["enwiki", "dewiki", "jawiki", "ruwiki", "arwiki"]
    assert kinds["did"] > 0 < kinds["offered"]
    assert kinds["opened"] == kinds["closed"] == 1


async def test_two_runs_with_the_same_arguments_have_the_same_ledger_at_any_speed(tmp_path):
    ledgers = []
    for n, speed in enumerate(("0", "60")):
        path = tmp_path / f"{n}.ndjson"
        run, _ = await begun(
            "--hours", "0.01", "--rate", "10", "--random-state", "5", "--time-scale", "60", "--speed", speed,
            "--ledger", str(path), "--faults", "storm",
        )  # fmt: skip
        assert run.stdout is not None
        assert b"its time is over" in await run.stdout.readline()
        run.send_signal(signal.SIGINT)
        await run.communicate()
        assert run.returncode == 0
        ledgers.append(path.read_bytes())
    # What comes after its end are canaries, until somebody stops it.
    shorter, longer = sorted(ledgers, key=len)
    assert longer.startswith(shorter)
    assert shorter.count(b"\n") > 1000


async def test_when_its_time_is_over_canaries_go_on_so_that_what_waits_falls_due():
    run, settings = await begun("--hours", "0.002", "--rate", "5", "--time-scale", "1800", "--speed", "10")
    try:
        assert run.stdout is not None
        assert b"its time is over" in await run.stdout.readline()
        now_ms = milliseconds((await read(f"{settings.source}/v2/stream/{PAGE_CHANGE}?since=0", 1))[0]["meta"]["dt"])
        end_ms = now_ms + round(0.002 * 3_600_000)
        async with asyncio.timeout(30):
            found = await read(f"{settings.source}/v2/stream/{PAGE_CHANGE}?since={rfc3339(end_ms)}", 20)
        assert {event["meta"]["domain"] for event in found} == {"canary"}
        times = [milliseconds(event["meta"]["dt"]) for event in found]
        assert times == sorted(times)
        assert times[-1] > end_ms
    finally:
        run.send_signal(signal.SIGINT)
        await run.communicate()
    assert run.returncode == 0


@pytest.mark.parametrize(
    "arguments", [("--wikis", "301"), ("--wikis", "0"), ("--rate", "0"), ("--speed", "-1"), ("--ledger", "/no/such/f")]
)
def test_options_out_of_range_are_refused_with_a_sentence(arguments, capsys):
    assert main(["world", "--port", "0", *arguments]) == MISCONFIGURED
    assert capsys.readouterr().err.startswith("sluice: ")


@pytest.fixture
async def source():
    world = build_world(4, seconds=10, tail_seconds=5)
    source = SimulatedSource(world)
    await source.start()
    await play(world, source, speed=0, after_seconds=1)
    yield source
    await source.stop()


@pytest.mark.parametrize("what", sorted(set(BLOWS)))
async def test_each_blow_of_a_storm_is_felt_and_healed(source, what):
    """A connection that stands, and a request to the API, before and after."""
    stands = asyncio.create_task(read(f"{source.url}/v2/stream/{PAGE_CHANGE}", 1))
    await source.until_connected(1)
    blowing = asyncio.create_task(blow(source, Random(1), what))
    if what in {"cut", "tear", "refuse", "throttle"}:
        with pytest.raises((aiohttp.ClientError, IndexError)):
            (await stands)[0]
    if what in {"refuse", "throttle"}:
        assert len(source.faults.refusals) == 1
    if what == "stall":
        while not source.stalled:  # noqa: ASYNC110 - it is over before anybody could be told
            await asyncio.sleep(0)
    if what in {"lag", "replica"}:
        while not (source.api.lag_seconds or source.api.replica_lag_ms):  # noqa: ASYNC110 - as above
            await asyncio.sleep(0)
    await blowing
    if what in {"api", "wrong_text"}:
        assert source.api.faults
    stands.cancel()
    await asyncio.wait({stands})
    source.faults.refusals.clear()
    source.api.faults.clear()
    assert not source.stalled
    found = await read(f"{source.url}/v2/stream/{PAGE_CHANGE}?since=0", 20)
    assert len(found) == 20


async def test_a_storm_that_is_over_leaves_fair_weather(source):
    source.api.lag_seconds = 7.2
    await source.stall()
    raging = asyncio.create_task(storm(source, Random(1)))
    await asyncio.sleep(0)
    raging.cancel()
    await asyncio.wait({raging})
    assert (source.stalled, source.api.lag_seconds, source.api.replica_lag_ms) == (False, 0.0, 0)
    assert not source.api.faults
    assert not source.faults.refusals
