"""The table of topics against a real cluster."""

from __future__ import annotations

import pytest
from conftest import MakeSettings

from streams import cluster
from streams.topics import Topics

pytestmark = pytest.mark.kafka


async def test_topics_are_created_once_and_then_nothing_differs(make_settings: MakeSettings) -> None:
    settings = await make_settings(topics=False)
    names = [topic.name for topic in Topics(settings).table()]
    assert await cluster.create(settings) == names
    assert await cluster.differences(settings) == []
    assert await cluster.create(settings) == []
    await cluster.require(settings)
