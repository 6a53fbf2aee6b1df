"""kill -9 of each step in the middle of the recording: nothing is lost or doubled, and the view is the same."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import line
import pytest
import recording
from line import HOLDS, Outcome
from test_recording_line import ran as undisturbed  # noqa: F401 - a fixture

from schemas.reasons import Step
from streams import cluster
from streams.kafka import read_partition
from streams.settings import Settings
from streams.topics import Topics

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.chaos,
    pytest.mark.skipif(not recording.present(), reason=recording.ABSENT),
]


@pytest.fixture(scope="module")
def killed(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return asyncio.run(run_and_kill(kafka, tmp_path_factory.mktemp("steps")))


async def run_and_kill(kafka: str, folder: Path) -> Outcome:
    """Each step dies once while the recording plays, at another point of it, and is started again."""
    async with recording.Playing(speed=40) as playing:
        settings = Settings(
            kafka=kafka,
            topic_prefix="killed",
            partitions=3,
            assign="all",
            metrics_port=0,
            source=playing.source.url,
            content=playing.source.content,
            since="2026-11-22T00:00:00Z",
            **line.HASTE,
        )
        await cluster.create(settings)
        with line.processes(settings, folder) as steps:
            play = asyncio.create_task(playing.play())
            for step, watched, records in (
                (Step.SOURCE, Topics(settings).source, 300),
                (Step.GATE, Topics(settings).decisions, 400),
                (Step.FETCH, Topics(settings).content, 500),
                (Step.PUBLISH, Topics(settings).edits("live"), 500),
                (Step.ENRICH, Topics(settings).enriched, 700),
                (Step.SOURCE, Topics(settings).source, 2000),
                (Step.GATE, Topics(settings).decisions, 1500),
            ):
                await holds(settings, watched, records)
                steps.kill(step)
                steps.start(step)
            await play
            await line.settled(settings, recording.messages()[-1].at_ms + 400_000)
            codes = {step: steps.stop(step) for step in Step}
            assert codes == dict.fromkeys(Step, 0), {step: steps.log(step)[-2000:] for step in Step}
        return await line.outcome(settings)


async def holds(settings: Settings, topic: str, records: int) -> None:
    """Return when `topic` has that many records."""
    async with asyncio.timeout(line.PATIENCE_SECONDS):
        while True:
            counts = [len(await read_partition(settings, topic, n)) for n in range(settings.partitions)]
            if sum(counts) >= records:
                return
            await asyncio.sleep(0.1)


def test_every_message_is_in_the_log_as_often_as_without_a_kill(undisturbed, killed):  # noqa: F811
    assert Counter(killed.events()) == Counter(undisturbed.events())


def test_every_edit_is_decided_as_without_a_kill(undisturbed, killed):  # noqa: F811
    assert killed.ends() == undisturbed.ends()


def test_a_reader_has_the_same_view_as_without_a_kill(undisturbed, killed):  # noqa: F811
    def named(outcome: Outcome) -> dict[tuple[str, bytes], dict]:
        prefix = outcome.settings.topic_prefix
        return {(topic.removeprefix(prefix), key): doc for (topic, key), doc in outcome.view().items()}

    ours, theirs = named(killed), named(undisturbed)
    assert ours.keys() == theirs.keys()
    compared = 0
    for name, doc in ours.items():
        other = theirs[name]
        for section in ("meta", "integrity", "rights"):
            assert doc[section] == other[section]
        # A text may have been hidden or deleted between the two runs' requests for it.
        if doc["content_absent"] == other["content_absent"]:
            assert doc["content"] == other["content"]
            compared += 1
    assert compared > 0.9 * len(ours) > 3000


def test_no_decision_is_made_twice(killed):
    made = [
        (d.policy, d.wiki, d.rev_id, d.epoch, d.state)
        for partition in range(killed.settings.partitions)
        for d in killed.decisions(partition)
    ]
    assert len(made) == len(set(made))


def test_partners_get_no_record_twice(killed):
    for policy in HOLDS:
        sent = [record.key for record in killed.all(killed.topics.edits(policy)) if record.value is not None]
        assert len(sent) == len(set(sent))


def test_nothing_was_set_aside_on_the_way(killed):
    assert killed.all(killed.topics.deadletter) == []
