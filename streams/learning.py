"""What the source learns of how soon bad edits are undone, and writes into the log as tables of holds.

The gate says what it sees (`sluice.lessons.v1`, in its own transactions), the learner counts it, and once an hour of
event time the source, which alone writes the log, commits a table to every partition of it and, in the same
transaction, what was counted anew and how far the lessons were read (`sluice.cohorts.v1`). So nothing is counted twice
or left out, whoever dies:

    the gate, before its commit        decisions and lessons fall together, and are made again
    the gate, after it                 the lessons are read once, by whoever is the source then
    the source, before its commit      table, counts and offsets fall together: the next one starts from the last ones,
                                       reads the same lessons again, and writes the table
    the source, after it               the next one finds all three
    a second source                    is the only one from its start on: the first one's transaction fails
    the source, away for 7 days        the lessons that are gone are not counted; the gate goes on by the last table
    `sluice.cohorts.v1` is lost        learned anew from the seed, if there is one; the last table is in force till then
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from aiokafka import AIOKafkaConsumer, TopicPartition

from processors.protect import EVERY_MS, Learner
from schemas.deadletter import DeadLetter
from schemas.learned import Learned
from schemas.lessons import (
    READ_KEY,
    Read,
    Seed,
    decode_cohorts,
    decode_lessons,
    decode_read,
    decode_seed,
    encode_cohorts,
    encode_read,
    stratum_key,
)
from schemas.log import KIND_CONTROL, InvalidRecord, encode_learned
from schemas.policy import Policies
from schemas.reasons import SetAside, Step
from streams import metrics
from streams.kafka import Out, close_consumer, consumer, letter_out, origin, read_partition
from streams.settings import InvalidSetting, Settings
from streams.topics import Topics

# Records of lessons between two transactions of the log, so that catching up does not hold up the source.
MOST_RECORDS = 24
# A wiki has up to 36 strata; the fifty with the most cases are shown.
MOST_SHOWN = 50

log = logging.getLogger("sluice.source")


def load_seed(settings: Settings) -> Seed:
    """What SLUICE_LEARNED names. Raises `InvalidSetting`."""
    if not settings.learned:
        return Seed(until_ms=-1, windows=())
    try:
        return decode_seed(Path(settings.learned).read_bytes())
    except (OSError, InvalidRecord) as exc:
        raise InvalidSetting(f"SLUICE_LEARNED={settings.learned!r}: {exc}") from exc


def targets_of(policies: Policies) -> dict[float, list[str]]:
    """Which protections rules ask for, and the policies that have such a rule."""
    found: dict[float, list[str]] = {}
    for policy in policies.policies:
        for target in sorted({rule.protect for rule in policy.rules if rule.protect is not None}):
            found.setdefault(target, []).append(policy.name)
    return found


class Learning:
    """The learner, fed from the topic. Its state is ahead of what is committed; if a commit fails it is thrown away."""

    def __init__(self, settings: Settings, learner: Learner, read: Read, fed: AIOKafkaConsumer, known_ms: int) -> None:
        self._known_ms = known_ms
        self._partitions = range(settings.partitions)
        self._topics = Topics(settings)
        self._learner = learner
        self._at_ms = read.at_ms
        self._offsets = dict(read.offsets)
        self._targets: tuple[float, ...] = ()
        self._letters: list[Out] = []
        self._fed = fed

    @classmethod
    async def open(cls, settings: Settings, seed: Seed) -> Self:
        """Take up what was last committed; where nothing was, the seed. Raises `InvalidRecord` and a `KafkaError`."""
        topics = Topics(settings)
        kept = {r.key: r.value for r in await read_partition(settings, topics.cohorts, 0) if r.value is not None}
        read = decode_read(kept.pop(READ_KEY)) if READ_KEY in kept else Read(offsets={})
        learner = Learner(map(decode_cohorts, kept.values()) if kept else seed.windows)
        fed = consumer(settings)
        try:
            await fed.start()
            places = [TopicPartition(topics.lessons, partition) for partition in range(settings.partitions)]
            fed.assign(places)
            first = await fed.beginning_offsets(places)
            for place in places:
                fed.seek(place, max(first[place], read.offsets.get(place.partition, 0)))
        except BaseException:
            await close_consumer(fed)
            raise
        return cls(settings, learner, read, fed, seed.until_ms)

    async def read(self) -> None:
        """Count the lessons that have come since the last call, some of them if they are many."""
        for place, records in (await self._fed.getmany(timeout_ms=0, max_records=MOST_RECORDS)).items():
            for record in records:
                self._hear(record)
            self._offsets[place.partition] = records[-1].offset + 1

    def outs(self, policies: Policies, heard_ms: int, number: int) -> list[Out]:
        """The table, if it is time for one, and with it what was counted. heard_ms: the watermark; number: of the tick.

        A protection that nobody asked for before has its table at once.
        """
        wanted = targets_of(policies)
        asked = set(wanted) <= set(self._targets)
        if asked and heard_ms < self._at_ms + EVERY_MS:
            return []
        learned = self._learner.table(tuple(sorted(wanted)), max(heard_ms, self._known_ms))
        self._targets, self._at_ms = tuple(wanted), max(heard_ms, self._at_ms)
        show(learned, wanted)
        read = Read(offsets=self._offsets, at_ms=self._at_ms)
        outs = [self._counted(stratum_key(stratum), encode_cohorts(stratum, cohorts))
                for stratum, cohorts in self._learner.take_changed()]  # fmt: skip
        letters, self._letters = self._letters, []
        metrics.DEAD_LETTERS.labels(Step.SOURCE, SetAside.WRONG_RECORD).inc(len(letters))
        return [*self._everywhere(learned, number), *outs, *letters, self._counted(READ_KEY, encode_read(read))]

    def _hear(self, record: Any) -> None:
        try:
            for lesson in decode_lessons(record.value or b""):
                self._learner.hear(lesson)
        except InvalidRecord as exc:
            log.warning("lessons are set aside: %s", exc)
            letter = DeadLetter(
                step=Step.SOURCE,
                reason=SetAside.WRONG_RECORD,
                detail=str(exc),
                origin=origin(record),
                payload=record.value or b"",
            )
            self._letters.append(letter_out(self._topics.deadletter, letter))

    async def close(self) -> None:
        await close_consumer(self._fed)

    def _everywhere(self, learned: Learned, number: int) -> Iterable[Out]:
        key, value = b"control:learned:%d" % number, encode_learned(learned)
        headers = [("kind", KIND_CONTROL)]
        return (
            Out(topic=self._topics.source, key=key, value=value, partition=partition, headers=headers)
            for partition in self._partitions
        )

    def _counted(self, key: bytes, value: bytes) -> Out:
        return Out(topic=self._topics.cohorts, key=key, value=value, partition=0)


def show(learned: Learned, wanted: Mapping[float, Sequence[str]]) -> None:
    """Say in metrics what was learned, of the strata with the most cases."""
    metrics.LEARNED_HOLD.clear()
    metrics.LEARNED_CASES.clear()
    rows = sorted(learned.rows.items(), key=lambda row: (-row[1].cases, row[0]))[:MOST_SHOWN]
    for (stratum, target), row in rows:
        for policy in wanted.get(target, ()):
            metrics.LEARNED_HOLD.labels(policy, str(stratum)).set(row.hold_ms / 1000)
            metrics.LEARNED_CASES.labels(policy, str(stratum)).set(row.cases)
