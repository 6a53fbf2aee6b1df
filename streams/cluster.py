"""The table of topics held against a cluster: create what is missing, name what differs. Nothing is altered here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import for_code

from streams.settings import Settings
from streams.topics import Topic, Topics

NO_ERROR = 0
UNKNOWN_TOPIC = 3
TOPIC_ALREADY_EXISTS = 36
# A new topic is known to the controller before every request finds it.
SETTLE_SECONDS = 30.0
REQUEST_TIMEOUT_MS = 30_000


class ClusterRefused(RuntimeError):
    """The cluster answered an admin request with an error; the message has topic and reason."""


class LayoutDiffers(Exception):
    """The cluster's topics are not those of the table; the message has one line per difference."""


async def create(settings: Settings) -> list[str]:
    """Create the topics that are missing; return their names. Returns when every partition has a leader.

    Raises `ClusterRefused`.
    """
    table = Topics(settings).table()
    async with _admin(settings) as admin:
        there = set(await admin.list_topics())
        missing = [topic for topic in table if topic.name not in there]
        if missing:
            response = await admin.create_topics([_new(topic, settings.replication) for topic in missing])
            _check(
                (error[0], error[1], error[2]) for error in response.topic_errors if error[1] != TOPIC_ALREADY_EXISTS
            )
        await _until_led(admin, [topic.name for topic in table])
    return [topic.name for topic in missing]


async def differences(settings: Settings) -> list[str]:
    """One sentence for each way in which the cluster differs from the table; each says what repairs it.

    Raises `ClusterRefused`.
    """
    table = Topics(settings).table()
    async with _admin(settings) as admin:
        found = {
            topic["topic"]: len(topic["partitions"])
            for topic in await admin.describe_topics([topic.name for topic in table])
            if topic["error_code"] == NO_ERROR
        }
        configs = await _configs(admin, [topic.name for topic in table if topic.name in found])
    lines = []
    for topic in table:
        if topic.name not in found:
            lines.append(f"{topic.name} is missing: `sluice topics create` makes it")
            continue
        if found[topic.name] != topic.partitions:
            lines.append(
                f"{topic.name} has {found[topic.name]} partitions, wanted are {topic.partitions}: it is for life; "
                "set SLUICE_PARTITIONS to what the topics have, or take another SLUICE_TOPIC_PREFIX and replay"
            )
        lines += _config_differences(settings, topic, configs[topic.name])
    return lines


async def require(settings: Settings) -> None:
    """Return if the cluster's topics are those of the table. Raises `LayoutDiffers`, `ClusterRefused`."""
    lines = await differences(settings)
    if lines:
        raise LayoutDiffers("\n".join(["the topics are not as they must be; run `sluice topics create`", *lines]))


async def delete(settings: Settings) -> list[str]:
    """Delete every topic of the table that is there, with all that is in it; return their names."""
    names = [topic.name for topic in Topics(settings).table()]
    async with _admin(settings) as admin:
        there = set(await admin.list_topics())
        doomed = [name for name in names if name in there]
        if doomed:
            response = await admin.delete_topics(doomed)
            _check((name, code, None) for name, code in response.topic_error_codes if code != UNKNOWN_TOPIC)
    return doomed


@asynccontextmanager
async def _admin(settings: Settings) -> AsyncIterator[Any]:
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka, request_timeout_ms=REQUEST_TIMEOUT_MS)
    try:
        # Started inside, since a start that fails leaves the client open.
        await admin.start()
        yield admin
    finally:
        await admin.close()


def _new(topic: Topic, replication: int) -> NewTopic:
    return NewTopic(topic.name, topic.partitions, replication, topic_configs=topic.config)


async def _until_led(admin: Any, names: list[str]) -> None:
    async with asyncio.timeout(SETTLE_SECONDS):
        while True:
            topics = await admin.describe_topics(names)
            if all(
                topic["error_code"] == NO_ERROR and all(part["leader"] >= 0 for part in topic["partitions"])
                for topic in topics
            ):
                return
            await asyncio.sleep(0.05)


async def _configs(admin: Any, names: list[str]) -> dict[str, dict[str, str]]:
    """Topic → its settings. A topic made just now is unknown to this request for a moment."""
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    if not resources:
        return {}
    async with asyncio.timeout(SETTLE_SECONDS):
        while True:
            found = [entry for response in await admin.describe_configs(resources) for entry in response.resources]
            if all(entry[0] != UNKNOWN_TOPIC for entry in found):
                break
            await asyncio.sleep(0.1)
    _check((entry[3], entry[0], entry[1]) for entry in found)
    return {entry[3]: {config[0]: config[1] for config in entry[4]} for entry in found}


def _config_differences(settings: Settings, topic: Topic, found: dict[str, str]) -> list[str]:
    lines = []
    for name, wanted in topic.config.items():
        seen = found.get(name, "unset")
        if _same(seen, wanted):
            continue
        value = f"[{wanted}]" if "," in wanted else wanted
        lines.append(
            f"{topic.name} has {name}={seen}, wanted is {wanted}: "
            f"`kafka-configs.sh --bootstrap-server {settings.kafka} --alter --entity-type topics "
            f"--entity-name {topic.name} --add-config {name}={value}`"
        )
    return lines


def _same(seen: str, wanted: str) -> bool:
    # A list such as compact,delete has no order.
    return sorted(seen.split(",")) == sorted(wanted.split(","))


def _check(errors: Iterable[tuple[str, int, str | None]]) -> None:
    """Admin errors sit in the responses and raise nothing."""
    lines = [f"{name}: {message or for_code(code).__name__}" for name, code, message in errors if code != NO_ERROR]
    if lines:
        raise ClusterRefused("; ".join(lines))
