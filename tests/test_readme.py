"""The partner of the README, run as it is printed there."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import produce
from test_publish_step import at_least, decision, decisions, enriched, run_until

from schemas.reasons import Bar, State
from streams.kafka import Out
from streams.topics import Topics

pytestmark = pytest.mark.kafka

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")


def block(language: str) -> str:
    (code,) = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    return code


async def two_pages_one_taken_back(settings) -> str:
    """Publish revisions 1 and 2 of a page and take back the second; returns the pages topic."""
    topics = Topics(settings)
    made = [
        decision(1, State.RELEASED),
        decision(2, State.RELEASED),
        decision(2, State.RETRACTED, reason=Bar.REVERTED),
    ]
    outs: list[Out] = [enriched(settings, 1), enriched(settings, 2), decisions(settings, *made)]
    await produce(settings, outs)
    await run_until(settings, at_least(settings, topics.pages("live"), 3))
    return topics.pages("live")


async def test_the_partner_in_python_shows_what_stands_and_drops_what_is_retracted(settings):
    topic = await two_pages_one_taken_back(settings)
    code = block("python")
    assert len(code.strip().splitlines()) <= 24
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code.replace('["change"]["revision"]["id"]', '["change"]["event_id"]')),
        env=os.environ | {"TOPIC": topic, "SLUICE_KAFKA": settings.kafka},
        stdout=subprocess.PIPE,
    )
    async with asyncio.timeout(30):
        lines = [(await process.stdout.readline()).decode().split() for _ in range(3)]
    process.kill()
    await process.wait()
    assert [line[:2] for line in lines] == [["shown", "enwiki:7"], ["shown", "enwiki:7"], ["gone", "enwiki:7"]]
    assert lines[0][3] == "CC-BY-SA-4.0"


@pytest.mark.skipif(shutil.which("kcat") is None, reason="kcat is not installed")
async def test_the_partner_in_the_shell_sees_records_and_tombstones(settings):
    topic = await two_pages_one_taken_back(settings)
    command = block("sh").strip().replace("127.0.0.1:9092", settings.kafka).replace("sluice.pages-fast.v1", topic)
    # -e: end at the end of the topic instead of following it.
    process = await asyncio.create_subprocess_shell(f"{command} -e", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    async with asyncio.timeout(30):
        out, _ = await process.communicate()
    lines = out.decode().splitlines()
    assert [line.split(" ", 1)[0] for line in lines] == ["enwiki:7"] * 3
    assert lines[2] == "enwiki:7 NULL"
