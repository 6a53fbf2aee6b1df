"""kill -9 of each step at each of its failpoints, while the recording plays: the same view, nothing lost or doubled."""

from __future__ import annotations

import asyncio
import re
import signal
from collections import Counter
from pathlib import Path

import line
import pytest
import recording
import test_source_faults
from conftest import sent_once
from line import HOLDS, Outcome
from test_recording_line import ran as undisturbed  # noqa: F401 - a fixture

from processors.quality import Book, differences
from schemas.quality import decode_quality
from schemas.reasons import Step
from streams import cluster
from streams.settings import Settings
from streams.step_processes import StepProcesses

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.chaos,
    pytest.mark.skipif(not recording.present(), reason=recording.ABSENT),
]

STREAMS = Path(__file__).parents[1] / "streams"
FAILPOINT = re.compile(r'failpoint\("([a-z_.]+)"\)')
LOOP = ("loop.fenced:2", "loop.worked:10", "loop.sent:10", "loop.offsets_sent:10", "loop.committed:10")
# Where each step kills itself, one place after another: name and pass.
KILLS = {
    Step.SOURCE: ("source.fenced:1", "source.read:15", "source.sent:15", "source.committed:15"),
    Step.FETCH: ("fetch.answered:3", "outbox.sent:3", "low_water.committed:2"),
    Step.ENRICH: ("enrich.parsed:5", "enrich.sent:5"),
    Step.GATE: LOOP,
    Step.PUBLISH: LOOP,
}


@pytest.fixture(scope="module")
def killed(kafka: str, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return asyncio.run(run_and_kill(kafka, tmp_path_factory.mktemp("steps")))


async def run_and_kill(kafka: str, folder: Path) -> Outcome:
    """Each step dies at each of its failpoints while the recording plays, and is started again."""
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
        steps = StepProcesses(settings, folder)
        try:
            play = asyncio.create_task(playing.play())
            await asyncio.gather(*(die_and_live(steps, step) for step in Step))
            await play
            await line.settled(settings, recording.messages()[-1].at_ms + 400_000)
            codes = await asyncio.to_thread(steps.stop)
            assert codes == dict.fromkeys(Step, 0), {step: steps.log(step)[-2000:] for step in Step}
        finally:
            steps.end()
        return await line.outcome(settings)


async def die_and_live(steps: StepProcesses, step: Step) -> None:
    """Start a step again and again, to die at one failpoint each time; then once more, to live."""
    for failpoint in KILLS[step]:
        steps.start(step, failpoint=failpoint)
        async with asyncio.timeout(line.PATIENCE_SECONDS):
            while steps.running[step].exit_code is None:  # noqa: ASYNC110 - nothing tells us
                await asyncio.sleep(0.2)
        code = steps.running[step].wait()
        assert code == -signal.SIGKILL, f"{step} at {failpoint}: {code}\n{steps.log(step)[-2000:]}"
    steps.start(step)


def test_each_failpoint_in_the_code_has_its_kill():
    written = [name for path in STREAMS.glob("*.py") for name in FAILPOINT.findall(path.read_text("utf-8"))]
    assert len(set(written)) == len(written)
    here = {kill.partition(":")[0] for kills in KILLS.values() for kill in kills}
    assert set(written) == here | set(test_source_faults.KILLS)


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


def test_the_statistics_are_what_the_decisions_say_after_every_kill(killed):
    for partition, records in enumerate(killed.records[killed.topics.quality]):
        last = {record.key: record.value for record in records}
        book = Book()
        book.hear(killed.decisions(partition))
        assert len(book.rows) >= len(HOLDS)
        assert differences(Book(decode_quality(value) for value in last.values()).rows, book.rows) == []


def test_partners_get_no_record_twice(killed):
    for policy in HOLDS:
        assert sent_once(killed.all(killed.topics.edits(policy)))


def test_nothing_was_set_aside_on_the_way(killed):
    assert killed.all(killed.topics.deadletter) == []
