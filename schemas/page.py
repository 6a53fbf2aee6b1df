"""`sluice.gate-state.v1`: what the gate knows of one page. Key `wiki:page`; what is not about a page lies beside it.

A page's state is owned by whoever decides about it, and changed in place: millions of edits wait at once, and a copy
per event would cost more than the decision.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from zlib import crc32

from schemas.decision import Signal
from schemas.learned import Protect
from schemas.log import InvalidRecord
from schemas.reasons import BASE_SIGNALS, SignalKind

POLICIES_KEY = b"~policies"
# The table of learned holds in force, the one that was when the policies came, and since when the log is heard.
LEARNED_KEY, BEFORE_KEY, BEGAN_KEY = b"~learned", b"~learned-before", b"~began"
# Tells the policies and the table before from others: `policies_mark`.
MARK_KEY = b"~mark"
# How far time is, which a tick that goes back does not change: per set of streams, `a,b=ms;c=ms`.
TIME_KEY = b"~time"

# How an edit stands under one policy: one ASCII digit each, in the order of the policies. For those above it, what is
# withheld is HELD for what it is itself (its risk, no review, a war), or BLOCKED with its editor, or else WITHHELD.
PENDING, RELEASED, WITHHELD, SUPERSEDED, RETRACTED, NONE, HELD, BLOCKED = b"01234567"
_KEPT_BACK = bytes((WITHHELD, HELD, BLOCKED, RETRACTED))
_BAR = frozenset({*BASE_SIGNALS, SignalKind.BLOCK})

# (namespace, kinds, editor class, page flags, topics): what a rule can match, beside the wiki.
Context = tuple[int, tuple[str, ...], str, tuple[str, ...], tuple[str, ...]]
# Which policies, by their place in `names`, share a digit.
Lanes = tuple[tuple[int, ...], ...]
# (which policies, by their place in `names`, when it went out under them, what a rule matched then, and which rule that
# was: `Rules.mark_of`).
Out = tuple[tuple[int, ...], int, Context, int]
# (under which policies, when the last thing went that had kept an edit).
Floor = tuple[tuple[int, ...], int]


@dataclass(slots=True, eq=False)
class Edit:
    """One edit, in one epoch.

    start_ms: when its hold began. sha1 is base-36 or None (hidden). user: a one-way key of its editor, or None (not
    known). states: a digit per policy; see `Page.lanes`. restores: the latest earlier revision with the same text, 0 if
    none. floors: when the last thing went that had kept it. partial: its parent was never seen. protects: how holds
    were chosen for it when it was observed, in the order of their targets. out: how it went out, where that is not what
    its plan says of every edit. plan: derived, see `processors.plans`. look_ms: derived, its place in the queue of a
    page that is tricky.
    """

    rev_id: int
    epoch: int
    event_id: str
    start_ms: int
    sha1: str | None
    user: str | None
    context: Context
    states: bytes
    signals: tuple[Signal, ...] = ()
    restores: int = 0
    floors: tuple[Floor, ...] = ()
    partial: bool = False
    look_ms: int = 0
    plan: Any = None
    protects: tuple[Protect, ...] = ()
    out: tuple[Out, ...] = ()

    @property
    def bars_others(self) -> bool:
        """Whether others may stand on something barred: it is kept back, or will be once it was out for a moment."""
        return any(digit in self.states for digit in _KEPT_BACK) or any(s.kind in _BAR for s in self.signals)


# (fire time, revision, epoch, lanes, edit): no two edits are alike in the second and third. No lanes: it is asked then.
Due = tuple[int, int, int, tuple[int, ...], Edit]


@dataclass(slots=True)
class Waiting:
    """A signal about a revision that no event has announced yet."""

    rev_id: int
    signal: Signal


@dataclass(slots=True, eq=False)
class Still:
    """The edits of a page that lie still, as they stand in its record: the oldest, up to the first that waits.

    Most edits of a long log are kept only in case that something is heard of them, and cost least so.
    lines: of `count` edits, in their order, which is that of their revisions; `last_rev` is that of the last, and
    `first_ms` when the hold of the first began. states: in which of them they stand, a digit per policy. bars: whether
    one of them bars what stands on it. read: makes edits of the lines.
    """

    lines: bytes
    count: int
    first_ms: int
    last_rev: int
    states: frozenset[bytes]
    bars: bool
    read: Callable[[bytes, str], list[Edit]]


@dataclass(slots=True, eq=False)
class Page:
    """names: the policies that the digits of `states` stand for; those after the policies in force are gone ones, under
    which some edit waited when they went, or was decided.

    ring: the last revisions with their SHA-1s, oldest first. edits: every edit within the horizon, as observed; the
    oldest of them may lie in `still`, until somebody asks for `edits`, the others are `recent`.
    reverts: (when, by whom) of reverts by another, for as long as they may make a war. protected_ms: since when only
    some may edit it, or 0. mark: the policies (`policies_mark`) under which there is nothing to make up for, 0 = none.
    The rest is derived: `open` are the edits that wait under some policy, in their order; `due_ms` is when to look
    again at the latest; `tricky` is true where edits do not simply fire one by one; `lanes`, once policies are in force
    for the page, are those that share a digit of `states`; per lane, `newest` is a revision after which none is out,
    and `swept` one before which none waits, unless the page is `mixed`: a revision came after a later one; `queue` is a
    heap, see `processors.due`; `lines`, `times` and `untold`, None until they are asked for, are what was found out
    about its edits together: see `processors.lines`, `processors.times` and `processors.untold`; `owed` are retractions
    (by which signal, of which edit, under which lane) that the next tick makes up for; a page is `restless` if its
    rules ask for all its edits at each event, so that none of them is left in `still`; `rules` are what is in force for
    it, see `processors.plans`.
    """

    wiki: str
    page_id: int
    title: str = ""
    names: tuple[str, ...] = ()
    ring: dict[int, str | None] = field(default_factory=dict)
    recent: list[Edit] = field(default_factory=list)
    waiting: list[Waiting] = field(default_factory=list)
    topics: tuple[str, ...] = ()
    reverts: list[tuple[int, str]] = field(default_factory=list)
    protected_ms: int = 0
    open: dict[Edit, None] = field(default_factory=dict)
    due_ms: int | None = None
    tricky: bool = False
    dirty: bool = False
    lanes: Lanes = ()
    newest: list[int] = field(default_factory=list)
    swept: list[int] = field(default_factory=list)
    queue: list[Due] = field(default_factory=list)
    mixed: bool = False
    lines: Any = None
    times: Any = None
    untold: Any = None
    owed: Sequence[tuple[Signal, Edit, int]] = ()
    still: Still | None = None
    mark: int = 0
    restless: bool = False
    rules: Any = None

    @property
    def edits(self) -> list[Edit]:
        """Every one, looked into. Raises `InvalidRecord`."""
        if self.still is not None:
            self.look_into()
        return self.recent

    @edits.setter
    def edits(self, edits: list[Edit]) -> None:
        self.recent, self.still = edits, None

    def look_into(self) -> None:
        """Read what lies still. Raises `InvalidRecord`."""
        if self.still is not None:
            self.recent[:0], self.still = self._read(self.still, self.still.lines), None

    def last_still(self, rev_id: int) -> Edit | None:
        """The last of those that lie still, to be read only, if it is this revision; they go on lying still."""
        if self.still is None or self.still.last_rev != rev_id:
            return None
        (edit,) = self._read(self.still, self.still.lines.rpartition(b"\n")[2])
        return edit

    def _read(self, still: Still, lines: bytes) -> list[Edit]:
        edits = still.read(lines, self.wiki)
        if self.rules is not None:
            for edit in edits:
                self.rules.put_in_force(self.wiki, edit)
        return edits

    @property
    def count(self) -> int:
        """How many edits there are."""
        return len(self.recent) + (0 if self.still is None else self.still.count)

    @property
    def last_rev(self) -> int:
        """The revision that came last; 0 if none is known."""
        if self.recent:
            return self.recent[-1].rev_id
        return 0 if self.still is None else self.still.last_rev

    @property
    def first_ms(self) -> int | None:
        """When the hold of its first edit began."""
        if self.still is not None:
            return self.still.first_ms
        return self.recent[0].start_ms if self.recent else None

    @property
    def key(self) -> bytes:
        return page_key(self.wiki, self.page_id)


class When(NamedTuple):
    """What a store has to know of a page beside its bytes, as it follows from them under the policies in force.

    mark: which policies those were (`policies_mark`), 0 = none of this is known. due_ms: when to look again at the
    latest. pending: (edit, policy) pairs that wait on it. refs: what it may be asked for by (`processors.digest`).
    """

    mark: int = 0
    due_ms: int | None = None
    pending: int = 0
    refs: frozenset[int] = frozenset()


# The header of a page's record that carries it: who takes up a partition then need not look into each page.
WHEN_HEADER = "when"
# To be raised when the same page and policies lead to something else than before.
_WHEN_VERSION = b"1"


def policies_mark(policies: bytes, before: bytes = b"") -> int:
    """Tells policies, and the table of learned holds that was when they came, from others; never 0.

    Both as control records have them.
    """
    return crc32(before, crc32(policies)) or 1


def encode_when(when: When) -> bytes:
    due = b"-" if when.due_ms is None else b"%d" % when.due_ms
    return b" ".join([_WHEN_VERSION, b"%x" % when.mark, due, b"%d" % when.pending, *(b"%x" % r for r in when.refs)])


def decode_when(header: bytes | None) -> When:
    """Nothing known where the header is absent, of another version or broken: then the page is looked into."""
    try:
        version, mark, due, pending, *refs = (header or b"").split(b" ")
        if version != _WHEN_VERSION:
            return When()
        due_ms = None if due == b"-" else int(due)
        return When(int(mark, 16), due_ms, int(pending), frozenset(int(ref, 16) for ref in refs))
    except ValueError:
        return When()


def page_key(wiki: str, page_id: int) -> bytes:
    return f"{wiki}:{page_id}".encode()


def read_key(key: bytes) -> tuple[str, int]:
    """The reverse of `page_key`. Raises `InvalidRecord`."""
    wiki, _, page_id = key.rpartition(b":")
    if not page_id.isdigit():
        raise InvalidRecord(f"no key of a page: {key!r}")
    return wiki.decode(), int(page_id)
