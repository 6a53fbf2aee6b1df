"""`sluice.gate-state.v1`: what the gate knows of one page. Key `wiki:page`; what is not about a page lies beside it.

A page's state is owned by whoever decides about it, and changed in place: millions of edits wait at once, and a copy
per event would cost more than the decision.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple
from zlib import crc32

import orjson

from schemas.decision import Signal, decode_signal, encode_signal
from schemas.learned import Protect, Stratum
from schemas.log import InvalidRecord

VERSION = 3
POLICIES_KEY = b"~policies"
# The table of learned holds in force, the one that was when the policies came, and since when the log is heard.
LEARNED_KEY, BEFORE_KEY, BEGAN_KEY = b"~learned", b"~learned-before", b"~began"
# How far time is, which a tick that goes back does not change: per set of streams, `a,b=ms;c=ms`.
TIME_KEY = b"~time"

# How an edit stands under one policy: one ASCII digit each, in the order of the policies. For those above it, what is
# withheld is HELD for what it is itself (its risk, no review, a war), or BLOCKED with its editor, or else WITHHELD.
PENDING, RELEASED, WITHHELD, SUPERSEDED, RETRACTED, NONE, HELD, BLOCKED = b"01234567"

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


# (fire time, revision, epoch, lanes, edit): no two edits are alike in the second and third. No lanes: it is asked then.
Due = tuple[int, int, int, tuple[int, ...], Edit]


@dataclass(slots=True)
class Waiting:
    """A signal about a revision that no event has announced yet."""

    rev_id: int
    signal: Signal


@dataclass(slots=True, eq=False)
class Page:
    """names: the policies that the digits of `states` stand for; those after the policies in force are gone ones, under
    which some edit waited when they went, or was decided.

    ring: the last revisions with their SHA-1s, oldest first. edits: every edit within the horizon, as observed.
    reverts: (when, by whom) of reverts by another, for as long as they may make a war. protected_ms: since when only
    some may edit it, or 0.
    The rest is derived: `open` are the edits that wait under some policy, in their order; `due_ms` is when to look
    again at the latest; `tricky` is true where edits do not simply fire one by one; `lanes`, once policies are in force
    for the page, are those that share a digit of `states`; per lane, `newest` is a revision after which none is out,
    and `swept` one before which none waits, unless the page is `mixed`: a revision came after a later one; `queue` is a
    heap, see `processors.due`; `lines`, `times` and `untold`, None until they are asked for, are what was found out
    about its edits together: see `processors.lines`, `processors.times` and `processors.untold`; `owed` are retractions
    (by which signal, of which edit, under which lane) that the next tick makes up for.
    """

    wiki: str
    page_id: int
    title: str = ""
    names: tuple[str, ...] = ()
    ring: dict[int, str | None] = field(default_factory=dict)
    edits: list[Edit] = field(default_factory=list)
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


def policies_mark(payload: bytes) -> int:
    """Tells policies, as a control record has them, from others; never 0."""
    return crc32(payload) or 1


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


def encode_page(page: Page) -> bytes:
    """Arrays without names: millions of them wait in memory. An edit's SHA-1 stands for that of its ring entry."""
    known = {edit.rev_id: edit.sha1 for edit in page.edits}
    return orjson.dumps(
        [
            VERSION,
            page.wiki,
            page.page_id,
            page.title,
            page.names,
            [rev_id if known.get(rev_id, "") == sha1 else (rev_id, sha1) for rev_id, sha1 in page.ring.items()],
            [_edit(e, page.lanes) for e in page.edits],
            [(w.rev_id, encode_signal(w.signal)) for w in page.waiting],
            page.topics,
            page.reverts,
            page.protected_ms,
        ]
    )


def _edit(e: Edit, lanes: Lanes) -> Sequence[Any]:
    states = _digits(e.states, lanes).decode()
    head: tuple[Any, ...] = (e.rev_id, e.epoch, e.event_id, e.start_ms, e.sha1, e.user, e.context, states)
    if e.signals or e.restores or e.floors or e.partial or e.protects or e.out:
        head = (*head, [encode_signal(signal) for signal in e.signals], e.restores, e.floors, int(e.partial), e.out)
    return (*head, e.protects[0].stratum.activity, *map(_protect, e.protects)) if e.protects else head


def _protect(p: Protect) -> Sequence[Any]:
    """The stratum's wiki and editor class are the edit's. A curve is one of the wider strata: its number, -1 = none."""
    return p.target, -1 if p.curve is None else p.stratum.wider().index(p.curve), p.cases, p.hold_ms


def _read_protect(doc: Sequence[Any], stratum: Stratum) -> Protect:
    target, number, cases, hold_ms = doc
    return Protect(target, stratum, None if number < 0 else stratum.wider()[number], cases, hold_ms)


@lru_cache(maxsize=10_000)
def _digits(states: bytes, lanes: Lanes) -> bytes:
    """A digit for each policy, whoever shares it."""
    count = sum(map(len, lanes))
    if count == len(lanes):
        return states
    digits = bytearray(count)
    for digit, lane in zip(states, lanes, strict=False):
        for at in lane:
            digits[at] = digit
    return bytes(digits) + states[len(lanes) :]


def spread(page: Page) -> None:
    """Give each policy a digit of its own, as in a record."""
    for edit in page.edits:
        edit.states = _digits(edit.states, page.lanes)
    page.lanes = ()


def decode_page(payload: bytes) -> Page:
    """Raises `InvalidRecord`, also for a record of a newer version: to pass it over would lose what it knows."""
    try:
        doc = orjson.loads(payload)
        if not isinstance(doc, list) or doc[0] != VERSION:
            found = doc[0] if isinstance(doc, list) and doc else "1"
            raise InvalidRecord(f"page state of version {found}; we read version {VERSION}")
        _, wiki, page_id, title, names, ring, edits, waiting, topics, reverts, protected_ms = doc
        made = [_read_edit(edit, str(wiki)) for edit in edits]
        known = {edit.rev_id: edit.sha1 for edit in made}
        return Page(
            wiki=str(wiki),
            page_id=int(page_id),
            title=title,
            names=tuple(names),
            ring=dict((each, known[each]) if isinstance(each, int) else each for each in ring),
            edits=made,
            waiting=[Waiting(int(rev_id), decode_signal(signal)) for rev_id, signal in waiting],
            topics=tuple(topics),
            reverts=[(at_ms, user) for at_ms, user in reverts],
            protected_ms=protected_ms,
        )
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError, IndexError) as exc:
        if isinstance(exc, InvalidRecord):
            raise
        raise InvalidRecord(f"no page state: {exc!r}") from exc


def _read_edit(doc: Sequence[Any], wiki: str) -> Edit:
    rev_id, epoch, event_id, start_ms, sha1, user, context, states = doc[:8]
    editor_class = context[2]
    edit = Edit(
        int(rev_id),
        int(epoch),
        event_id,
        int(start_ms),
        sha1,
        user,
        _read_context(context),
        states.encode(),
    )
    if len(doc) > 8:
        signals, edit.restores, floors, partial, out = doc[8:13]
        edit.signals = tuple(decode_signal(signal) for signal in signals)
        edit.floors = tuple((tuple(places), int(at_ms)) for places, at_ms in floors)
        edit.partial = bool(partial)
        edit.out = tuple(
            (tuple(places), int(fire_ms), _read_context(then), int(mark)) for places, fire_ms, then, mark in out
        )
    if len(doc) > 13:
        stratum = Stratum(wiki, editor_class, doc[13])
        edit.protects = tuple(_read_protect(each, stratum) for each in doc[14:])
    return edit


def _read_context(doc: Sequence[Any]) -> Context:
    namespace, kinds, editor_class, flags, topics = doc
    return namespace, tuple(kinds), editor_class, tuple(flags), tuple(topics)
