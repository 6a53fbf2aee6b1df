"""A worker that the chaos test starts, stops and kills: copies ids, and counts them per partition in a state topic.

Run: `python chaos_worker.py BOOTSTRAP PREFIX PARTITIONS {group|all}`. Exits 0 when told to stop, 3 when fenced.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Sequence
from typing import Any

from schemas.reasons import Step
from streams.exactly_once import ExactlyOnce
from streams.kafka import Out, read_partition
from streams.ownership import OwnershipLost
from streams.settings import Settings
from streams.topics import Topics, limits

COUNT_KEY = b"count"


class Copier:
    """Input record → the same id in `decisions`, and in `gate-state` how many the partition has seen so far."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._topics = Topics(settings)
        self.counts: dict[int, int] = {}
        self.done = asyncio.Event()

    async def own(self, partition: int) -> None:
        states = await read_partition(self._settings, self._topics.gate_state, partition)
        self.counts[partition] = int(states[-1].value) if states else 0

    async def work(self, partition: int, records: Sequence[Any]) -> list[Out]:
        outs = []
        for record in records:
            self.counts[partition] += 1
            count = b"%d" % self.counts[partition]
            outs.append(
                Out(
                    topic=self._topics.decisions,
                    key=record.key,
                    value=record.value,
                    partition=partition,
                    headers=[("count", count)],
                )
            )
        count = b"%d" % self.counts[partition]
        return [*outs, Out(topic=self._topics.gate_state, key=COUNT_KEY, value=count, partition=partition)]

    def committed(self, partition: int, records: Sequence[Any], outs: Sequence[Out]) -> None:
        self.done.set()

    def lost(self, partition: int) -> None:
        self.counts.pop(partition, None)


def copy_loop(
    settings: Settings, handler: Any, *, inputs: Sequence[str] | None = None, checked: bool = True
) -> ExactlyOnce:
    """The loop that runs a `Copier`, or another handler, over the topics of `settings`.

    checked: whether it knows what its topics take; if not, the broker says so.
    """
    topics = Topics(settings)
    return ExactlyOnce(
        settings,
        app=topics.group("copy"),
        step=Step.GATE,
        inputs=inputs or [topics.source],
        limits=limits(topics.table()) if checked else {},
        handler=handler,
        dead_letters=topics.deadletter,
        partitions=range(settings.partitions) if settings.assign == "all" else None,
    )


async def main(bootstrap: str, prefix: str, partitions: int, assign: str) -> int:
    settings = Settings(kafka=bootstrap, topic_prefix=prefix, partitions=partitions, assign=assign)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    try:
        await copy_loop(settings, Copier(settings)).run(stop)
    except OwnershipLost as exc:
        logging.getLogger("chaos").warning("%s", exc)
        return 3
    return 0


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(process)d %(name)s %(levelname)s %(message)s")
    sys.exit(asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4])))
