"""The command line as people and supervisors use it: the whole line in one process, signals, exit codes, errors."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from conftest import read_all

from schemas.event import PAGE_CHANGE, READABLE, TAGS_CHANGE, TOPIC_PREDICTION
from schemas.reasons import Step
from streams.capture import manifest_path
from streams.eventstreams import SimulatedSource
from streams.settings import InvalidSetting, Settings
from streams.step_processes import StepProcesses, env_of
from streams.topics import Topics

SLUICE = [sys.executable, "-m", "streams.cli"]


class NoWikis:
    def revision(self, domain: str, rev_id: int) -> Mapping[str, Any] | None:
        return None

    def siteinfo(self, domain: str) -> Mapping[str, Any]:
        return {}


def sluice(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SLUICE_")}
    return subprocess.run(
        [*SLUICE, *arguments], capture_output=True, text=True, env=clean | env, timeout=60, check=False
    )


@pytest.mark.kafka
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_the_whole_line_and_its_broker_with_code_0_and_leaves_nothing_running(tmp_path, number):
    source = SimulatedSource(NoWikis())
    await source.start()
    settings = Settings(source=source.url, content=source.content, state=str(tmp_path), metrics_port=0, partitions=3)
    env = env_of(settings)
    del env["SLUICE_KAFKA"]
    process = await asyncio.create_subprocess_exec(*SLUICE, "run", env=env, stderr=asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(90):
            while not (said := re.search(rb"Kafka at 127.0.0.1:(\d+)", await process.stderr.readline())):
                assert process.returncode is None
            port = int(said[1])
            here = settings.with_(kafka=f"127.0.0.1:{port}")
            while not await read_all(here, Topics(here).source):  # noqa: ASYNC110 - a topic has no event to wait for
                await asyncio.sleep(0.2)
        process.send_signal(number)
        async with asyncio.timeout(30):
            await process.stderr.read()
            assert await process.wait() == 0
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await source.stop()


def catches(pid: int, number: signal.Signals) -> bool:
    """Whether a process has set a handler for a signal, by what the kernel says."""
    status = Path(f"/proc/{pid}/status").read_text()
    return bool(int(re.search(r"SigCgt:\s*([0-9a-f]+)", status)[1], 16) >> (number - 1) & 1)


@pytest.mark.kafka
@pytest.mark.parametrize("step", list(Step))
async def test_each_step_alone_ends_with_code_0_on_sigterm(make_settings, tmp_path, step):
    source = SimulatedSource(NoWikis())
    await source.start()
    settings = await make_settings(source=source.url, content=source.content)
    steps = StepProcesses(settings, tmp_path)
    steps.start(step)
    try:
        async with asyncio.timeout(60):
            while not catches(steps.running[step].pid, signal.SIGTERM):  # noqa: ASYNC110 - nothing tells us
                await asyncio.sleep(0.1)
        assert await asyncio.to_thread(steps.stop) == {step: 0}, steps.log(step)
    finally:
        steps.end()
        await source.stop()


@pytest.mark.kafka
async def test_a_step_refuses_a_layout_that_differs_and_says_how_to_repair_it(make_settings):
    settings = await make_settings(topics=False)
    done = await asyncio.to_thread(sluice, "gate", **env_of(settings))
    assert done.returncode == 2
    assert Topics(settings).source in done.stderr
    assert "sluice topics create" in done.stderr


@pytest.mark.kafka
async def test_topics_are_made_once_and_then_as_they_should_be(make_settings):
    settings = await make_settings(topics=False)
    env = env_of(settings)
    first, again, check = [
        await asyncio.to_thread(sluice, "topics", action, **env) for action in ("create", "create", "check")
    ]
    assert f"made {Topics(settings).source}" in first.stdout
    assert again.stdout == "every topic was there already\n"
    assert (check.returncode, check.stdout) == (0, "every topic is as it should be\n")


@pytest.mark.skipif(shutil.which("unshare") is None or os.getuid() != 0, reason="only root can take the network away")
def test_without_a_network_run_says_one_line_that_leads_to_the_demo():
    command = ["unshare", "-n", *SLUICE, "run"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "make demo" in done.stderr


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SLUICE_POLICIES", "fast"),
        ("SLUICE_POLICIES", "Fast=3"),
        ("SLUICE_POLICIES", "fast=-1"),
        ("SLUICE_PARTITIONS", "none"),
        ("SLUICE_PARTITIONS", "0"),
        ("SLUICE_ASSIGN", "some"),
        ("SLUICE_TICK_SECONDS", "0"),
        ("SLUICE_LIVE_LINGER_SECONDS", "0"),
        ("SLUICE_PARSE_WORKERS", "0"),
        ("SLUICE_CONTENT_FORM", "enwiki=pdf"),
        ("SLUICE_LINGERS", "enwiki"),
        ("SLUICE_LINGERS", "enwiki=soon"),
        ("SLUICE_LINGERS", "enwiki=0"),
        ("SLUICE_LINGERS", "=5"),
    ],
)
def test_a_setting_that_makes_no_sense_is_refused_by_name(variable, value):
    with pytest.raises(InvalidSetting, match=variable):
        Settings.from_env({variable: value})


def test_a_wiki_is_gathered_for_as_long_as_is_said_of_it_else_as_of_those_served_live():
    given = {"SLUICE_LIVE_WIKIS": "enwiki,dewiki", "SLUICE_LINGERS": "dewiki=5, frwiki=600"}
    assert Settings.from_env(given).linger_of_wikis == {"enwiki": 1.0, "dewiki": 5.0, "frwiki": 600.0}


def test_a_refused_setting_is_one_line_for_the_person_who_set_it():
    done = sluice("gate", SLUICE_PARTITIONS="many")
    assert done.returncode == 2
    assert done.stderr.startswith("sluice: SLUICE_PARTITIONS='many'")
    assert "Traceback" not in done.stderr


def test_every_setting_survives_the_way_through_the_environment():
    described = {name: value for name, value, _ in Settings().described()}
    assert Settings.from_env(described) == Settings()


def test_the_help_fits_eighty_columns_and_names_every_command():
    done = sluice("--help", COLUMNS="80")
    assert done.returncode == 0
    assert max(map(len, done.stdout.splitlines())) <= 80
    for command in (*Step, "demo", "run", "broker", "topics", "streams", "endpoint", "capture", "replay", "settings"):
        assert re.search(rf"^    {command} ", done.stdout, re.MULTILINE)


def test_a_file_that_is_no_capture_is_refused_with_its_line(tmp_path):
    path = tmp_path / "log.ndjson"
    path.write_text('{"partition": 0}\n')
    manifest = {"capture": 1, "records": 1, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    manifest_path(path).write_text(json.dumps(manifest))
    done = sluice("replay", str(path))
    assert done.returncode == 2
    assert "line 1" in done.stderr


def test_a_capture_without_its_manifest_or_with_a_byte_changed_is_not_replayed(tmp_path):
    path = tmp_path / "log.ndjson"
    path.write_text("")
    assert "has no manifest" in sluice("replay", str(path)).stderr
    manifest = {"capture": 1, "records": 0, "sha256": hashlib.sha256(b"").hexdigest()}
    manifest_path(path).write_text(json.dumps(manifest))
    assert sluice("replay", str(path)).returncode == 0
    path.write_text(" ")
    done = sluice("replay", str(path))
    assert done.returncode == 2
    assert "sha256" in done.stderr


@pytest.mark.parametrize(("offered", "code"), [(tuple(READABLE), 0), ((PAGE_CHANGE,), 1)])
async def test_the_streams_that_a_source_offers_are_listed_and_a_missing_one_is_an_error(offered, code):
    source = SimulatedSource(NoWikis(), streams=offered)
    await source.start()
    try:
        done = await asyncio.to_thread(sluice, "streams", SLUICE_SOURCE=source.url)
    finally:
        await source.stop()
    assert done.returncode == code, done.stderr
    lines = dict(line.split(maxsplit=1) for line in done.stdout.splitlines() if " " in line)
    assert lines[PAGE_CHANGE] == "followed"
    assert lines[TAGS_CHANGE] == "followed" + (", but not offered" if code else "")
    assert (TOPIC_PREDICTION in done.stdout) == (code == 0)


def test_an_endpoint_that_is_not_configured_cannot_be_told():
    done = sluice("endpoint", "fallback")
    assert done.returncode == 2
    assert "SLUICE_SOURCE_FALLBACK" in done.stderr


def test_the_command_loads_nothing_that_only_some_commands_need() -> None:
    heavy = "{'faust', 'turbohtml', 'aiohttp', 'matplotlib', 'rich', 'streams.gate', 'streams.source'}"
    code = f"import sys, streams.cli; streams.cli._parser(); print(sorted({heavy} & set(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"
