"""`sluice.lessons.v1` and `sluice.cohorts.v1`: what is known of edits and their undoing, to learn how soon it comes.

Lessons are what the gate sees, one record per transaction of the gate and partition. Cohorts are what the source has
counted of them: key `wiki × editor class × activity`, and under the key `~read` how far it has read the lessons.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from schemas.learned import Stratum, read_stratum
from schemas.log import InvalidRecord

READ_KEY = b"~read"


class Lesson(NamedTuple):
    """An edit of this stratum was made at `at_ms`; with `after_ms`: it was undone by another so long afterwards.

    stands: what was said of its undoing does not hold, since that was itself undone within 48 hours.
    """

    stratum: Stratum
    at_ms: int
    after_ms: int | None = None
    stands: bool = False


def encode_lessons(lessons: Sequence[Lesson]) -> bytes:
    return orjson.dumps([[list(each.stratum), each.at_ms, each.after_ms, each.stands] for each in lessons])


def decode_lessons(payload: bytes) -> list[Lesson]:
    """Raises `InvalidRecord`."""
    try:
        return [
            Lesson(read_stratum(stratum), int(at_ms), None if after_ms is None else int(after_ms), bool(stands))
            for stratum, at_ms, after_ms, stands in orjson.loads(payload)
        ]
    except (orjson.JSONDecodeError, TypeError, ValueError) as exc:
        raise InvalidRecord(f"no lessons: {exc!r}") from exc


class Cohort:
    """The edits of some days. undone: step of the time that they stood → how many (steps: see `processors.cohorts`).

    cases: all of these.
    """

    __slots__ = ("cases", "days", "edits", "undone")

    def __init__(self, days: int = 1, edits: int = 0, undone: Iterable[tuple[int, int]] = ()) -> None:
        self.days = days
        self.edits = edits
        self.undone: Counter[int] = Counter(dict(undone))
        self.cases = self.undone.total()


# First day, since 1970 → cohort.
Cohorts = Mapping[int, Cohort]


def cohorts_document(cohorts: Cohorts) -> list[Any]:
    """As JSON: [first day, days, edits, [step, how many, …]] per cohort."""
    return [
        [day, cohort.days, cohort.edits, [n for pair in sorted((+cohort.undone).items()) for n in pair]]
        for day, cohort in sorted(cohorts.items())
    ]


def read_cohorts(doc: Sequence[Any]) -> dict[int, Cohort]:
    """The reverse of `cohorts_document`. Raises `TypeError` or `ValueError`."""
    return {
        int(day): Cohort(int(days), int(edits), zip(undone[::2], undone[1::2], strict=True))
        for day, days, edits, undone in doc
    }


def stratum_key(stratum: Stratum) -> bytes:
    return "|".join(stratum).encode()


def encode_cohorts(stratum: Stratum, cohorts: Cohorts) -> bytes:
    return orjson.dumps({"cohorts": cohorts_document(cohorts), "stratum": list(stratum)})


def decode_cohorts(payload: bytes) -> tuple[Stratum, dict[int, Cohort]]:
    """Raises `InvalidRecord`."""
    try:
        doc = orjson.loads(payload)
        return read_stratum(doc["stratum"]), read_cohorts(doc["cohorts"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as exc:
        raise InvalidRecord(f"no cohorts: {exc!r}") from exc


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """offsets: per partition of the lessons, where to read on. at_ms: of the last table that was written, -1 = none."""

    offsets: Mapping[int, int]
    at_ms: int = -1


def encode_read(read: Read) -> bytes:
    offsets = {str(partition): offset for partition, offset in sorted(read.offsets.items())}
    return orjson.dumps({"at_ms": read.at_ms, "offsets": offsets})


def decode_read(payload: bytes) -> Read:
    """Raises `InvalidRecord`."""
    try:
        doc = orjson.loads(payload)
        return Read(offsets={int(p): int(offset) for p, offset in doc["offsets"].items()}, at_ms=int(doc["at_ms"]))
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as exc:
        raise InvalidRecord(f"no offsets of lessons: {exc!r}") from exc


SEED_VERSION = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Seed:
    """All that was counted, as a file that `sluice learn` writes. until_ms: the end of what it was learned from."""

    until_ms: int
    windows: Sequence[tuple[Stratum, Cohorts]]


def encode_seed(seed: Seed) -> bytes:
    windows = [{"cohorts": cohorts_document(cohorts), "stratum": list(stratum)}
               for stratum, cohorts in sorted(seed.windows, key=lambda each: each[0])]  # fmt: skip
    return orjson.dumps({"until_ms": seed.until_ms, "version": SEED_VERSION, "windows": windows})


def decode_seed(payload: bytes) -> Seed:
    """Raises `InvalidRecord`."""
    try:
        doc = orjson.loads(payload)
        if doc["version"] != SEED_VERSION:
            raise InvalidRecord(f"a seed of version {doc['version']}; we read version {SEED_VERSION}")
        windows = [(read_stratum(each["stratum"]), read_cohorts(each["cohorts"])) for each in doc["windows"]]
        return Seed(until_ms=int(doc["until_ms"]), windows=windows)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as exc:
        if isinstance(exc, InvalidRecord):
            raise
        raise InvalidRecord(f"no seed: {exc!r}") from exc
