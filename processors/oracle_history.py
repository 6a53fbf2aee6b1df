"""The history of one page as the log tells it: its edits, and what was said about each. One rule, one function.

Source of the rules: a revert restores the SHA-1 of one of the sixteen revisions before it, or declares what it undid;
`mw-reverted` names what was undone; a deletion concerns every revision of the page, a hiding one, and its end opens
another epoch; a model scores one revision. What names no page is `processors.oracle_unplaced`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from processors.oracle_facts import PageKey
from processors.oracle_ledger import Offered
from processors.oracle_log import Partition, page_of
from processors.oracle_rules import editor_class
from processors.oracle_unplaced import Unplaced, looked_at, protects, unplaced_of
from schemas.decision import Signal
from schemas.event import EDIT_KINDS, RISK_STREAMS, PageChange, Prediction, TagsChange, VisibilityChange
from schemas.reasons import Bar, EditorClass, SignalKind

RADIUS = 16
SKEW_MS = 600_000
WAIT_MS = 600_000
# The probability from which a topic counts.
TOPIC = 0.5

REVERTS = frozenset({SignalKind.IDENTITY_REVERT, SignalKind.DECLARED_REVERT})
BARS = {
    SignalKind.IDENTITY_REVERT: Bar.REVERTED,
    SignalKind.DECLARED_REVERT: Bar.REVERTED,
    SignalKind.REVERTED_TAG: Bar.REVERTED,
    SignalKind.PAGE_DELETE: Bar.PAGE_DELETED,
    SignalKind.HIDE: Bar.SUPPRESSED,
    SignalKind.BLOCK: Bar.EDITOR_BLOCKED,
}


@dataclass(slots=True)
class Said:
    """A signal, and the place of the log from which it works: where it was read, or its edit if that came later."""

    place: int
    signal: Signal


@dataclass(slots=True, eq=False)
class Edit:
    """One revision in one epoch. place: of the event that announced it, or of that which showed it again (`shown`).

    doc: the event as JSON. partial: its parent was never seen. restores: the latest earlier revision with the same
    text, 0 = none. number: its place among the page's edits.
    """

    place: int
    event: PageChange
    epoch: int
    said: list[Said] = field(default_factory=list)
    doc: Mapping[str, Any] = field(default_factory=dict)
    shown: VisibilityChange | None = None
    partial: bool = False
    restores: int = 0
    number: int = 0

    @property
    def event_id(self) -> str:
        return (self.shown or self.event).meta.event_id

    @property
    def kinds(self) -> frozenset[str]:
        """A redirect is one more kind; a page that comes into the articles is created there."""
        event, before = self.event, ((self.doc.get("prior_state") or {}).get("page") or {}).get("namespace_id", 0)
        drafted = event.kind == "move" and event.namespace == 0 and before != 0
        also = {"redirect" if event.is_redirect else "", "create" if drafted else ""}
        return frozenset({event.kind, *also} - {""})

    @property
    def editor(self) -> EditorClass:
        event = self.event
        late = event.kind == "undelete" or abs(event.meta.at_ms - event.rev_ms) > SKEW_MS
        return editor_class(self.doc["revision"].get("editor"), event.meta.at_ms if late else event.rev_ms)

    @property
    def start_ms(self) -> int:
        """When the public could see it first: its own time, unless it came much later (an import, a wrong clock)."""
        event = self.event
        if self.shown is not None:
            return self.shown.meta.at_ms
        if event.kind == "undelete" or abs(event.meta.at_ms - event.rev_ms) > SKEW_MS:
            return event.meta.at_ms
        return event.rev_ms

    @property
    def user(self) -> str | None:
        return None if self.event.editor is None else self.event.editor.user_text


@dataclass(slots=True)
class Page:
    """texts: the last sixteen (revision, SHA-1) in the order announced, before each what its event says stood there.

    topics, protected: what it has from a place of the log on; a protection also says from when. reverts: (place, when,
    by whom) an edit undid another's. early_until_ms: until when that waits which came before any edit.
    """

    key: PageKey
    partition: Partition
    edits: list[Edit] = field(default_factory=list)
    texts: list[tuple[int, str | None]] = field(default_factory=list)
    topics: list[tuple[int, frozenset[str]]] = field(default_factory=list)
    protected: list[tuple[int, int, bool]] = field(default_factory=list)
    reverts: list[tuple[int, int, str]] = field(default_factory=list)
    early_until_ms: int = 0

    def is_known(self, place: int) -> bool:
        """Whether an edit is known still."""
        gone_ms = self.partition.forgotten_before(place)
        return any(e.place < place and e.start_ms > gone_ms for e in reversed(self.edits))

    def known(self, place: int) -> list[Edit]:
        """Its edits that were announced before a place of the log, and are not forgotten there."""
        gone_ms = self.partition.forgotten_before(place)
        return [e for e in self.edits if e.place < place and e.start_ms > gone_ms]

    def newest(self, rev_id: int, before: int) -> Edit | None:
        """The newest epoch of a revision that was announced before a place of the log, and is known there still."""
        gone_ms = self.partition.forgotten_before(before)
        edits = (e for e in reversed(self.edits) if e.event.rev_id == rev_id and e.place < before)
        return next((e for e in edits if e.start_ms > gone_ms), None)


Target = tuple[int, Signal]
Rule = Callable[[Page, int, Offered], Iterator[Target]]


def reverts(page: Page, place: int, offered: Offered) -> Iterator[Target]:
    """What an edit undid: what it declares, and by identity what lies behind the text that it restores."""
    event = offered.event
    if not isinstance(event, PageChange) or event.kind not in EDIT_KINDS or event.kind == "undelete":
        return
    undone = dict.fromkeys(_behind_the_same_text(page, event), SignalKind.IDENTITY_REVERT)
    undone |= dict.fromkeys(_declared(page, place, event), SignalKind.DECLARED_REVERT)
    for rev_id, kind in sorted(undone.items()):
        edit = page.newest(rev_id, place)
        if edit is not None:
            editor = None if event.editor is None else event.editor.user_text
            yield (
                rev_id,
                Signal(
                    kind=kind,
                    event_id=event.meta.event_id,
                    at_ms=event.rev_ms,
                    by_rev_id=event.rev_id,
                    by_self=editor is not None and editor == edit.user,
                ),
            )


def _behind_the_same_text(page: Page, event: PageChange) -> list[int]:
    before = [(rev_id, sha1) for rev_id, sha1 in page.texts[-RADIUS:] if rev_id != event.rev_id]
    same = [at for at, (_, sha1) in enumerate(before) if sha1 == event.rev_sha1 and sha1 is not None]
    return [rev_id for rev_id, _ in before[same[-1] + 1 :]] if same else []


def _declared(page: Page, place: int, event: PageChange) -> list[int]:
    if event.revert is None:
        return []
    oldest, newest = event.revert.oldest_rev_id, event.revert.newest_rev_id
    return [e.event.rev_id for e in page.known(place) if oldest <= e.event.rev_id <= newest]


def reverted_tag(page: Page, place: int, offered: Offered) -> Iterator[Target]:
    event = offered.event
    if isinstance(event, TagsChange) and "mw-reverted" in event.tags and "mw-reverted" not in event.prior_tags:
        yield event.rev_id, _signal(SignalKind.REVERTED_TAG, event)


def deleted(page: Page, place: int, offered: Offered) -> Iterator[Target]:
    """A deletion without performer and with everything hidden is a suppression."""
    event = offered.event
    if isinstance(event, PageChange) and event.kind == "delete":
        shown = event.performer or event.content_visible or event.editor_visible or event.comment_visible
        for rev_id in dict.fromkeys(e.event.rev_id for e in page.known(place)):
            yield rev_id, _signal(SignalKind.PAGE_DELETE if shown else SignalKind.HIDE, event)


def hidden(page: Page, place: int, offered: Offered) -> Iterator[Target]:
    """A part that was visible no longer is; or the page's own event says that a part is not."""
    event = offered.event
    if isinstance(event, VisibilityChange):
        was, now = event.prior, event.visibility
        if (was.text, was.user, was.comment) != (now.text, now.user, now.comment) and any(
            before and not after
            for before, after in ((was.text, now.text), (was.user, now.user), (was.comment, now.comment))
        ):
            yield event.rev_id, _signal(SignalKind.HIDE, event)
    elif isinstance(event, PageChange) and event.kind != "delete" and not event.all_visible:
        yield event.rev_id, _signal(SignalKind.HIDE, event)


def scored(page: Page, place: int, offered: Offered) -> Iterator[Target]:
    event = offered.event
    if isinstance(event, Prediction) and event.meta.stream in RISK_STREAMS:
        model, score = f"{event.model}/{event.model_version}", event.probabilities["true"]
        yield event.rev_id, _signal(SignalKind.RISK, event)._replace(model=model, score=score)


# Reverts speak of what was there before the edit; so they come before the edit itself.
RULES: tuple[Rule, ...] = (reverts, reverted_tag, deleted, hidden, scored)


def _signal(kind: SignalKind, event: PageChange | TagsChange | VisibilityChange | Prediction) -> Signal:
    return Signal(kind=kind, event_id=event.meta.event_id, at_ms=event.meta.at_ms)


def pages_of(partition: Partition) -> list[Page]:
    """Every page of the partition, with its edits and what was said about them."""
    by_page: dict[PageKey, list[tuple[int, Offered]]] = {}
    for place, offered in partition.events:
        key = page_of(offered)
        if key is not None:
            by_page.setdefault(key, []).append((place, offered))
    unplaced = unplaced_of(partition)
    return [_page(key, partition, events, unplaced) for key, events in by_page.items()]


def _page(
    key: PageKey, partition: Partition, events: Sequence[tuple[int, Offered]], unplaced: Sequence[Unplaced]
) -> Page:
    page = Page(key, partition)
    waiting: list[tuple[int, int, Signal]] = []
    mine = [(place, 0, offered) for place, offered in events]
    # What is said of a title or of a user is placed behind the event that it had to wait for.
    mine += [(place, 1, each.offered) for place, each in looked_at(events, unplaced, partition, WAIT_MS)]
    for place, _, offered in sorted(mine, key=lambda each: each[:2]):
        if partition.policies_at(place) is None:
            continue
        if not _is_known(page, place, waiting):
            page.texts.clear()
            page.topics.append((place, frozenset()))
            page.protected.append((place, 0, False))
        told = list(reverts(page, place, offered))
        edit = _announce(page, place, offered)
        told += [target for rule in RULES[1:] for target in rule(page, place, offered)]
        told += list(_of_a_log(page, place, offered))
        for rev_id, signal in told:
            _tell(page, place, rev_id, signal, waiting)
        _note(page, place, offered, told)
        if edit is not None:
            for early in [each for each in waiting if each[1] == edit.event.rev_id]:
                waiting.remove(early)
                if partition.time_before(place) < early[2].at_ms + WAIT_MS:
                    _hear(edit, place, early[2])
    for each in unplaced:
        if each.blocked and each.wiki == key[0]:
            _block(page, each)
    for edit in page.edits:
        edit.said.sort(key=lambda said: said.place)
    return page


def _is_known(page: Page, place: int, waiting: Sequence[tuple[int, int, Signal]]) -> bool:
    """Whether an edit is known still, or something waits for one."""
    last_ms = max([page.early_until_ms, *(signal.at_ms + WAIT_MS for _, _, signal in waiting)])
    return page.is_known(place) or page.partition.time_before(place) < last_ms


def _announce(page: Page, place: int, offered: Offered) -> Edit | None:
    """Take in an edit; None for what is none, and for a repeat."""
    event = offered.event
    if isinstance(event, VisibilityChange):
        _show(page, place, event)
        return None
    if not isinstance(event, PageChange) or event.kind not in EDIT_KINDS:
        return None
    known = page.newest(event.rev_id, place)
    undelete = event.kind == "undelete"
    if known is not None and not (undelete and _taken_away(known)):
        return None  # a repeat; or a history merge: other revisions came to a page that stood
    texts = page.texts
    prior = event.prior_rev_id
    if prior is not None and all(rev_id != prior for rev_id, _ in texts) and (not texts or prior > texts[-1][0]):
        texts.append((prior, event.prior_rev_sha1))
    orphan = prior is None and bool(event.parent_id) and all(rev_id != event.parent_id for rev_id, _ in texts[-RADIUS:])
    same = [rev_id for rev_id, sha1 in texts[-RADIUS:] if sha1 == event.rev_sha1 is not None and rev_id != event.rev_id]
    if all(rev_id != event.rev_id for rev_id, _ in texts[-RADIUS:]):
        texts.append((event.rev_id, event.rev_sha1))
    del texts[:-RADIUS]
    epoch = int(undelete) if known is None else known.epoch + 1
    edit = Edit(place, event, epoch, doc=offered.doc or {}, partial=orphan, number=len(page.edits))
    edit.restores = same[-1] if same and not undelete else 0
    page.edits.append(edit)
    return edit


def _taken_away(edit: Edit) -> bool:
    return any(said.signal.kind in {SignalKind.PAGE_DELETE, SignalKind.HIDE} for said in edit.said)


def _show(page: Page, place: int, event: VisibilityChange) -> None:
    """A hidden revision that is all visible again begins anew."""
    now, was = event.visibility, event.prior
    shown = (now.text and now.user and now.comment) and not (was.text and was.user and was.comment)
    edit = page.newest(event.rev_id, place) if shown else None
    if edit is not None and any(said.signal.kind is SignalKind.HIDE for said in edit.said):
        again = Edit(
            place, edit.event, edit.epoch + 1, doc=edit.doc, shown=event, partial=edit.partial, number=len(page.edits)
        )
        page.edits.append(again)


def _of_a_log(page: Page, place: int, offered: Offered) -> Iterator[Target]:
    """A patrol, an approval, or that it was taken back."""
    said = Unplaced.of(place, offered)
    if said is not None and said.signal is not None and said.rev_id:
        yield said.rev_id, said.signal


def _note(page: Page, place: int, offered: Offered, told: Sequence[Target]) -> None:
    """What is so of the page as a whole from here on."""
    event = offered.event
    if isinstance(event, Prediction) and event.meta.stream not in RISK_STREAMS:
        page.topics.append((place, frozenset(t for t, sure in event.probabilities.items() if sure >= TOPIC)))
        _keep(page, place, event.meta.at_ms)
    elif (protected := protects(offered)) is not None and offered.event is not None:
        page.protected.append((place, offered.event.meta.at_ms, protected))
        _keep(page, place, offered.event.meta.at_ms)
    elif isinstance(event, PageChange) and event.editor is not None:
        undone = [signal for _, signal in told if signal.kind in REVERTS and not signal.by_self]
        if undone:
            edit = page.newest(event.rev_id, place + 1)
            page.reverts.append((place, event.rev_ms if edit is None else edit.start_ms, event.editor.user_text))


def _keep(page: Page, place: int, at_ms: int) -> None:
    """What comes before any edit of the page waits for one."""
    if not page.is_known(place):
        page.early_until_ms = max(page.early_until_ms, at_ms + WAIT_MS)


def _block(page: Page, block: Unplaced) -> None:
    """It bars what its user made before it, also what is announced later."""
    for edit in page.edits:
        if edit.user == block.name and edit.start_ms <= block.at_ms and block.signal is not None:
            place = max(edit.place, block.place)
            in_time = edit.place <= block.place or page.partition.time_before(place) < block.at_ms + WAIT_MS
            if edit.shown is not None and edit.place > block.place:
                continue  # the epoch before heard it
            if in_time and page.partition.policies_at(block.place) is not None:
                _hear(edit, place, block.signal)


def _tell(page: Page, place: int, rev_id: int, signal: Signal, waiting: list[tuple[int, int, Signal]]) -> None:
    """It concerns the newest epoch there is; without one it waits for its edit."""
    edit = page.newest(rev_id, place + 1)
    if edit is None:
        waiting.append((place, rev_id, signal))
    else:
        _hear(edit, place, signal)


def _hear(edit: Edit, place: int, signal: Signal) -> None:
    if edit.epoch and signal.at_ms < edit.start_ms:
        return  # it ended the epoch before
    if signal.kind is SignalKind.REVERTED_TAG and _undone_by_its_own_editor(edit):
        signal = signal._replace(by_self=True)
    edit.said.append(Said(place, signal))


def _undone_by_its_own_editor(edit: Edit) -> bool:
    """The tag does not say who undid it; the reverts heard before it do."""
    by_self = [said.signal.by_self for said in edit.said if said.signal.kind in REVERTS]
    return bool(by_self) and all(by_self)
