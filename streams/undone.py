"""How far behind the slowest step is: how long ago something may have been hidden that it has not met yet."""

from __future__ import annotations

from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas.reasons import Step
from streams.clock import now_ms
from streams.kafka import reading
from streams.settings import Settings
from streams.topics import Topics


async def oldest_undone_ms(settings: Settings) -> int:
    """Broker's time of the oldest record that a step has not done; now, if all is done."""
    topics = Topics(settings)
    inputs = (
        (Step.FETCH, topics.source),
        (Step.GATE, topics.source),
        (Step.ENRICH, topics.content),
        (Step.PUBLISH, topics.enriched),
        (Step.PUBLISH, topics.decisions),
    )
    oldest = now_ms()
    for step, topic in inputs:
        async with reading(settings, group=topics.group(step)) as reader:
            tps = [TopicPartition(topic, partition) for partition in range(settings.partitions)]
            oldest = min(oldest, await _oldest(reader, tps, oldest))
    return oldest


async def _oldest(reader: AIOKafkaConsumer, tps: list[TopicPartition], until_ms: int) -> int:
    reader.assign(tps)
    first, end = await reader.beginning_offsets(tps), await reader.end_offsets(tps)
    for tp in tps:
        reader.seek(tp, max(first[tp], await reader.committed(tp) or 0))
        while await reader.position(tp) < end[tp]:
            if records := (await reader.getmany(tp, timeout_ms=1000, max_records=1)).get(tp):
                until_ms = min(until_ms, records[0].timestamp)
                break
    return until_ms
