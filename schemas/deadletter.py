"""`sluice.deadletter.v1`: what no step could read or finish, with its bytes, its reason and where it came from."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.reasons import SetAside, Step


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """payload: the original bytes, unchanged: the record's value. Everything else travels in headers.

    origin: `topic/partition/offset` of the record in Kafka, or `sse:<sha256 of the bytes>` for a message of the source.
    The key is step and origin, so that a step that meets the same record again after a restart writes no second letter.
    """

    step: Step
    reason: SetAside
    detail: str
    origin: str
    payload: bytes

    @property
    def key(self) -> bytes:
        return f"{self.step}:{self.origin}".encode()

    @property
    def headers(self) -> list[tuple[str, bytes]]:
        return [
            ("step", self.step.encode()),
            ("reason", self.reason.encode()),
            ("detail", self.detail[:1000].encode("utf-8", "replace")),
            ("origin", self.origin.encode()),
        ]
