"""What goes into one Kafka transaction: in batches of our own, and none of them without the broker's answer.

A send that failed does not fail the commit: without the answers its record would be missing without a word.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import IllegalOperation, KafkaError

from streams.kafka import Out, send

# Topic and partition; None = the client's choice, by the key.
Place = tuple[str, int | None]


async def send_batches(sender: AIOKafkaProducer, outs: Iterable[Out]) -> None:
    """Send all of it, each partition's in its order; returns when the broker has it. A transaction must have begun.

    Raises the `KafkaError` that ended the transaction; what was not handed over by then is left.
    """
    by_place: dict[Place, list[Out]] = {}
    for out in outs:
        by_place.setdefault((out.topic, out.partition), []).append(out)
    futures: dict[Place, list[asyncio.Future[Any]]] = {place: [] for place in by_place}
    sends = [asyncio.create_task(_send(sender, place, each, futures[place])) for place, each in by_place.items()]
    try:
        await asyncio.gather(*sends)
    except IllegalOperation as exc:
        # The broker's answer to an earlier record ended the transaction while a later one was handed over.
        answers = await asyncio.gather(*chain(*futures.values()), return_exceptions=True)
        raise next((each for each in answers if isinstance(each, KafkaError)), KafkaError(str(exc))) from exc
    finally:
        for task in sends:
            task.cancel()
        await asyncio.gather(*sends, return_exceptions=True)
        for future in chain(*futures.values()):
            future.add_done_callback(_look_at)


async def _send(
    sender: AIOKafkaProducer, place: Place, outs: Sequence[Out], futures: list[asyncio.Future[Any]]
) -> None:
    """What goes to one partition. Each thing to be answered is appended to `futures`: also if a later one fails."""
    topic, partition = place
    if partition is None:
        for out in outs:
            futures.append(await send(sender, out, {}))  # noqa: PERF401 - the first ones count if one fails
    else:
        for batch in batches(sender, outs):
            futures.append(await sender.send_batch(batch, topic, partition=partition))  # noqa: PERF401 - as above
    await asyncio.gather(*futures)


def batches(sender: AIOKafkaProducer, outs: Sequence[Out]) -> Iterator[Any]:
    """What goes to one partition, in batches of our own: the client's way has a future and a dozen calls per record."""
    batch = sender.create_batch()
    for out in outs:
        while batch.append(timestamp=None, key=out.key, value=out.value, headers=[*out.headers]) is None:
            # It is full, and closed. A batch takes any one record.
            yield batch
            batch = sender.create_batch()
    batch.close()  # so that nothing is waited for that could join it
    yield batch


def _look_at(future: asyncio.Future[Any]) -> None:
    """Take note of a failure that another failure came before."""
    with contextlib.suppress(asyncio.CancelledError):
        future.exception()
