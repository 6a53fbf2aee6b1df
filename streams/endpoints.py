"""Which of the source's endpoints is asked: the first one, or a second one that stands in for it.

Of its own accord the source goes to the other endpoint when one has brought nothing `OPENS_AFTER` times in a row, and
from the second back to the first when a connection there ends by age, on trial: one failure sends it back. A person
decides otherwise with `sluice endpoint primary|fallback|auto`, a record on `sluice.control.v1`; the newest one counts,
also after a restart.

Two endpoints may belong to two Kafka clusters. That is nothing special here: see `processors.cursor`.
"""

from __future__ import annotations

import asyncio
from enum import StrEnum

from streams import metrics
from streams.settings import Settings

OPENS_AFTER = 3


class Choice(StrEnum):
    """What a person may say."""

    PRIMARY = "primary"
    FALLBACK = "fallback"
    AUTO = "auto"


class Endpoints:
    """The circuit of each endpoint, and the one that is asked now. interrupt: set when it is not the one connected to.

    A circuit is closed while its endpoint brings messages, open once it failed `OPENS_AFTER` times in a row, and half
    open while such an endpoint is being tried.
    """

    def __init__(self, settings: Settings) -> None:
        self._urls = {Choice.PRIMARY: settings.source}
        if settings.source_fallback:
            self._urls[Choice.FALLBACK] = settings.source_fallback
        self._failures = dict.fromkeys(self._urls, 0)
        self._choice = Choice.AUTO
        self.name = Choice.PRIMARY
        self.interrupt = asyncio.Event()

    @property
    def url(self) -> str:
        return self._urls[self.name].rstrip("/")

    @property
    def failures(self) -> int:
        """Connections to this endpoint in a row that brought nothing."""
        return self._failures[self.name]

    def choose(self, choice: Choice) -> bool:
        """Follow a person. False if that endpoint is not configured; then nothing changes."""
        if choice is not Choice.AUTO and choice not in self._urls:
            return False
        self._choice = choice
        if choice not in {Choice.AUTO, self.name}:
            self.name = choice
            self.interrupt.set()
        return True

    def trying(self) -> None:
        """A connection to this endpoint begins."""
        self.interrupt.clear()
        self._show(trying=True)

    def worked(self) -> None:
        """It brought its first message."""
        self._failures[self.name] = 0
        self._show()

    def ended(self, reason: str, *, brought: bool, name: Choice) -> None:
        """The connection to the endpoint `name` ended."""
        self._failures[name] = 0 if brought else self._failures[name] + 1
        if self._choice is Choice.AUTO and len(self._urls) > 1 and name is self.name:
            if self.failures >= OPENS_AFTER:
                self.name = Choice.FALLBACK if name is Choice.PRIMARY else Choice.PRIMARY
            elif name is Choice.FALLBACK and reason == "age":
                self.name = Choice.PRIMARY
                self._failures[self.name] = OPENS_AFTER - 1
        self._show()

    def _show(self, *, trying: bool = False) -> None:
        for name, failures in self._failures.items():
            opened = failures >= OPENS_AFTER
            state = ("half_open" if trying and name is self.name else "open") if opened else "closed"
            for each in metrics.CIRCUIT_STATES:
                metrics.SOURCE_CIRCUIT.labels(name, each).set(each == state)
            metrics.SOURCE_ENDPOINT.labels(name).set(name is self.name)
