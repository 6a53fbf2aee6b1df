"""What is in force on a partition: policies, the table of learned holds, spans that nobody heard, and how far time is.

Pure. All of it comes from control records and ticks, so it is the same wherever they are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from processors.plans import ACTIVITY_MS, Rules
from schemas.learned import NOTHING_LEARNED, Learned
from schemas.log import (
    Control,
    Gap,
    InvalidRecord,
    Policies,
    Tick,
    decode_control,
    encode_gap,
    encode_learned,
    encode_policies,
)
from schemas.page import BEFORE_KEY, BEGAN_KEY, LEARNED_KEY, MARK_KEY, POLICIES_KEY, TIME_KEY

GAP_PREFIX = b"~gap:"
# What happened this long before the watermark is behind every deadline.
_GAP_KEPT_MS = 120 * 86_400_000


class InForce:
    """rules: the policies in force, None before the first control record. heard: the watermark of a plain hold in ms,
    -1 before the first tick. heard_ms: that of each set of streams that rules need; empty until a tick is heard.

    beside: takes what changed about these, as records of the state topic.
    """

    def __init__(self, beside: dict[bytes, bytes | None]) -> None:
        self.rules: Rules | None = None
        self.heard = -1
        self.heard_ms: tuple[int, ...] = ()
        self._beside = beside
        self._until_ms: dict[frozenset[str], int] = {}
        self._gaps: tuple[Gap, ...] = ()
        self._learned = self._before = NOTHING_LEARNED
        self._began_ms: int | None = None

    def restore(self, records: Iterable[tuple[bytes, bytes]]) -> None:
        """Take up what is about this of records of the state topic, in the order of their keys.

        Raises `InvalidRecord`.
        """
        before = NOTHING_LEARNED
        for key, value in records:
            if key == BEGAN_KEY:
                self._began_ms = int(value)
            elif key == TIME_KEY:
                self._until_ms = _times(value)
            elif key == BEFORE_KEY:
                before = _table(value)
            elif key in (LEARNED_KEY, POLICIES_KEY) or key.startswith(GAP_PREFIX):
                self.take(decode_control(value))
        self._before = before
        if self.rules is not None:
            self._rule(self.rules.source)

    def take(self, control: Control) -> None:
        """A control record of the log."""
        if isinstance(control, Learned):
            self._learned, self._beside[LEARNED_KEY] = control, encode_learned(control)
            if self.rules is not None:
                self.rules.learn(control)
        elif isinstance(control, Gap):
            self._take_gap(control)
        else:
            if self.rules is None or self.rules.source != control:  # else they are in force already
                self._before = self._learned
            self._beside[POLICIES_KEY] = encode_policies(control)
            if self._before is not NOTHING_LEARNED:
                self._beside[BEFORE_KEY] = encode_learned(self._before)
            self._beside[MARK_KEY] = b"%d" % self._rule(control).mark

    def _take_gap(self, control: Gap) -> None:
        gone = [gap for gap in self._gaps if gap.to_ms <= self.heard - _GAP_KEPT_MS]
        self._beside |= {_gap_key(gap): None for gap in gone} | {_gap_key(control): encode_gap(control)}
        kept = {gap for gap in self._gaps if gap not in gone}
        # In an order of their own, since a restart reads them in that of their keys.
        self._gaps = tuple(sorted(kept | {control}, key=lambda gap: (gap.from_ms, gap.to_ms, gap.stream)))
        if self.rules is not None:
            self._rule(self.rules.source)

    def _rule(self, policies: Policies) -> Rules:
        self.rules = Rules(
            policies,
            self._gaps,
            learned=self._learned,
            before=self._before,
            active_from_ms=None if self._began_ms is None else self._began_ms + ACTIVITY_MS,
        )
        return self.rules

    def hear(self, tick: Tick, rules: Rules) -> None:
        """A tick of the log."""
        moves = False
        for streams in rules.watermarks:
            until_ms = min(tick.heard_ms.get(each, -1) for each in streams)
            # A tick that goes back takes nothing back, nor does one that is the first after a restart.
            if until_ms > self._until_ms.get(streams, -1):
                self._until_ms[streams], moves = until_ms, True
        if moves:
            self._beside[TIME_KEY] = _encode_times(self._until_ms)
        self.heard_ms = tuple(self._until_ms.get(streams, -1) for streams in rules.watermarks)
        self.heard = self.heard_ms[0]
        if self._began_ms is None and self.heard >= 0:
            self._began_ms, self._beside[BEGAN_KEY] = self.heard, str(self.heard).encode()
            rules.count_activity_from(self.heard)


def _encode_times(until_ms: Mapping[frozenset[str], int]) -> bytes:
    return ";".join(sorted(f"{','.join(sorted(streams))}={at_ms}" for streams, at_ms in until_ms.items())).encode()


def _times(value: bytes) -> dict[frozenset[str], int]:
    parts = (part.partition("=") for part in value.decode().split(";"))
    return {frozenset(streams.split(",")): int(at_ms) for streams, _, at_ms in parts}


def _table(value: bytes) -> Learned:
    control = decode_control(value)
    if not isinstance(control, Learned):
        raise InvalidRecord("no table of learned holds where one should be")
    return control


def _gap_key(gap: Gap) -> bytes:
    return GAP_PREFIX + f"{gap.from_ms}-{gap.to_ms}:{gap.stream}".encode()
