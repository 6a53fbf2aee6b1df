"""Every topic of sluice in one table, and the commands that make it and hold a cluster against it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from streams.settings import Settings

DAY_MS = 86_400_000
# A retraction must reach a reader who was away: as long as the horizon within which we retract, and some days.
KEEP_MS = 35 * DAY_MS
MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """One row. `key` and `partitioned_by` are prose for people; the rest is what the cluster is held against."""

    name: str
    key: str
    partitioned_by: str
    partitions: int
    cleanup: str
    retention_ms: int
    max_record_bytes: int
    about: str

    @property
    def config(self) -> dict[str, str]:
        """The topic's settings in Kafka's words."""
        config = {
            "cleanup.policy": self.cleanup,
            "max.message.bytes": str(self.max_record_bytes),
            "message.timestamp.type": "LogAppendTime",
        }
        if "delete" in self.cleanup:
            config["retention.ms"] = str(self.retention_ms)
        if "compact" in self.cleanup:
            config["min.compaction.lag.ms"] = "0"
            config["max.compaction.lag.ms"] = str(DAY_MS)
            config["delete.retention.ms"] = str(KEEP_MS)
        return config


class Topics:
    """The names and the table for one deployment.

    >>> Topics(Settings()).source
    'sluice.source.v1'
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.policies = tuple(policy.name for policy in settings.policies)
        self.source = self._name("source")
        self.control = self._name("control")
        self.content = self._name("content")
        self.enriched = self._name("enriched")
        self.decisions = self._name("decisions")
        self.gate_state = self._name("gate-state")
        self.lessons = self._name("lessons")
        self.cohorts = self._name("cohorts")
        self.publish_state = self._name("publish-state")
        self.quality = self._name("quality")
        self.deadletter = self._name("deadletter")

    def edits(self, policy: str) -> str:
        """The topic with each edit that `policy` released."""
        return self._name(policy if policy == "live" else f"reviewed-{policy}")

    def pages(self, policy: str) -> str:
        """The compacted topic with each page as `policy` lets it be seen now."""
        return self._name(f"pages-{policy}")

    def group(self, step: str) -> str:
        """Consumer group and transactional-id prefix of a step."""
        return f"{self._settings.topic_prefix}.{step}"

    def table(self) -> tuple[Topic, ...]:
        """Every topic, in the order of the line."""
        keep = "compact,delete"
        rows = [
            self._row(self.source, "wiki:page:rev:event id", keep, KEEP_MS, 21, "every kept message, ticks, control"),
            Topic(
                name=self.control, key="control id", partitioned_by="one partition", partitions=1, cleanup=keep,
                retention_ms=KEEP_MS, max_record_bytes=MEGABYTE, about="policies and facts on their way into the log",
            ),
            self._row(self.content, "wiki:page:rev", keep, 7 * DAY_MS, 21, "texts, or why there is none"),
            self._row(self.enriched, "wiki:page:rev", keep, KEEP_MS, 21, "one parsed record per revision"),
            self._row(self.decisions, "wiki:page:input", keep, KEEP_MS, 4, "every transition, with its proof"),
            self._row(self.gate_state, "wiki:page", "compact", -1, 4, "what the gate knows of a page"),
            self._row(self.lessons, "-", "delete", 7 * DAY_MS, 4, "edits made and undone, to learn from"),
            Topic(
                name=self.cohorts, key="wiki|editor class|activity", partitioned_by="one partition", partitions=1,
                cleanup="compact", retention_ms=-1, max_record_bytes=MEGABYTE, about="what was counted of the lessons",
            ),
            self._row(self.publish_state, "wiki:page:rev", "compact", -1, 4, "what waits and what is out"),
            self._row(self.quality, "policy:day", "compact", -1, 4, "what became of a day's edits"),
            Topic(
                name=self.deadletter, key="step:origin", partitioned_by="key", partitions=1, cleanup=keep,
                retention_ms=30 * DAY_MS, max_record_bytes=25 * MEGABYTE, about="what could not be read or finished",
            ),
        ]  # fmt: skip
        for policy in self.policies:
            rows.append(
                self._row(
                    self.edits(policy), "wiki:page:rev:epoch:release|retract", keep, KEEP_MS, 21, "each released edit"
                )
            )
            rows.append(self._row(self.pages(policy), "wiki:page", "compact", -1, 21, "the page as of now"))
        return tuple(rows)

    def _name(self, thing: str) -> str:
        return f"{self._settings.topic_prefix}.{thing}.v1"

    def _row(self, name: str, key: str, cleanup: str, retention_ms: int, max_megabytes: int, about: str) -> Topic:
        return Topic(
            name=name,
            key=key,
            partitioned_by="page",
            partitions=self._settings.partitions,
            cleanup=cleanup,
            retention_ms=retention_ms,
            max_record_bytes=max_megabytes * MEGABYTE,
            about=about,
        )


def limits(topics: Iterable[Topic]) -> dict[str, int]:
    """Topic → the largest record it takes, bytes of key, value and headers."""
    return {topic.name: topic.max_record_bytes for topic in topics}
