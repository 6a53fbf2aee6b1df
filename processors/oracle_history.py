"""The history of one page as the log tells it: its edits, and what was said about each. One rule, one function.

Source of the rules: a revert restores the SHA-1 of one of the sixteen revisions before it, or declares what it undid;
`mw-reverted` names what was undone; a deletion concerns every revision of the page, a hiding one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from processors.oracle_facts import PageKey
from processors.oracle_ledger import Offered
from processors.oracle_log import Partition, page_of
from schemas.decision import Signal
from schemas.event import EDIT_KINDS, PageChange, TagsChange, VisibilityChange
from schemas.reasons import Bar, SignalKind

RADIUS = 16
SKEW_MS = 600_000
WAIT_MS = 600_000

BARS = {
    SignalKind.IDENTITY_REVERT: Bar.REVERTED,
    SignalKind.DECLARED_REVERT: Bar.REVERTED,
    SignalKind.REVERTED_TAG: Bar.REVERTED,
    SignalKind.PAGE_DELETE: Bar.PAGE_DELETED,
    SignalKind.HIDE: Bar.SUPPRESSED,
}


@dataclass(slots=True)
class Said:
    """A signal, and the place of the log from which it works: where it was read, or its edit if that came later."""

    place: int
    signal: Signal


@dataclass(slots=True)
class Edit:
    """One revision in one epoch. place: of the event that announced it."""

    place: int
    event: PageChange
    epoch: int
    said: list[Said] = field(default_factory=list)

    @property
    def start_ms(self) -> int:
        """When the public could see it first: its own time, unless it came much later (an import, a wrong clock)."""
        event = self.event
        if event.kind == "undelete" or abs(event.meta.at_ms - event.rev_ms) > SKEW_MS:
            return event.meta.at_ms
        return event.rev_ms

    @property
    def user(self) -> str | None:
        return None if self.event.editor is None else self.event.editor.user_text


@dataclass(slots=True)
class Page:
    """texts: (revision, SHA-1) in the order announced, before them what the first event says stood there."""

    key: PageKey
    partition: Partition
    edits: list[Edit] = field(default_factory=list)
    texts: list[tuple[int, str | None]] = field(default_factory=list)

    def newest(self, rev_id: int, before: int) -> Edit | None:
        """The newest epoch of a revision that was announced before a place of the log."""
        return next((e for e in reversed(self.edits) if e.event.rev_id == rev_id and e.place < before), None)


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
    return [e.event.rev_id for e in page.edits if e.place < place and oldest <= e.event.rev_id <= newest]


def reverted_tag(page: Page, place: int, offered: Offered) -> Iterator[Target]:
    event = offered.event
    if isinstance(event, TagsChange) and "mw-reverted" in event.tags and "mw-reverted" not in event.prior_tags:
        yield event.rev_id, _signal(SignalKind.REVERTED_TAG, event)


def deleted(page: Page, place: int, offered: Offered) -> Iterator[Target]:
    """A deletion without performer and with everything hidden is a suppression."""
    event = offered.event
    if isinstance(event, PageChange) and event.kind == "delete":
        shown = event.performer or event.content_visible or event.editor_visible or event.comment_visible
        for rev_id in dict.fromkeys(e.event.rev_id for e in page.edits if e.place < place):
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


# Reverts speak of what was there before the edit; so they come before the edit itself.
RULES: tuple[Rule, ...] = (reverts, reverted_tag, deleted, hidden)


def _signal(kind: SignalKind, event: PageChange | TagsChange | VisibilityChange) -> Signal:
    return Signal(kind=kind, event_id=event.meta.event_id, at_ms=event.meta.at_ms)


def pages_of(partition: Partition) -> list[Page]:
    """Every page of the partition, with its edits and what was said about them."""
    by_page: dict[PageKey, list[tuple[int, Offered]]] = {}
    for place, offered in partition.events:
        key = page_of(offered)
        if key is not None:
            by_page.setdefault(key, []).append((place, offered))
    return [_page(key, partition, events) for key, events in by_page.items()]


def _page(key: PageKey, partition: Partition, events: Sequence[tuple[int, Offered]]) -> Page:
    page = Page(key, partition)
    waiting: list[tuple[int, int, Signal]] = []
    for place, offered in events:
        if partition.policies_at(place) is None:
            continue
        told = list(reverts(page, place, offered))
        edit = _announce(page, place, offered)
        told += [target for rule in RULES[1:] for target in rule(page, place, offered)]
        for rev_id, signal in told:
            _tell(page, place, rev_id, signal, waiting)
        if edit is not None:
            for early in [each for each in waiting if each[1] == edit.event.rev_id]:
                waiting.remove(early)
                if partition.heard_before(place) < early[2].at_ms + WAIT_MS:
                    _hear(edit, place, early[2])
    return page


def _announce(page: Page, place: int, offered: Offered) -> Edit | None:
    """Take in an edit; None for what is none, and for a repeat."""
    event = offered.event
    if not isinstance(event, PageChange) or event.kind not in EDIT_KINDS:
        return None
    known = [edit for edit in page.edits if edit.event.rev_id == event.rev_id]
    undelete = event.kind == "undelete"
    if known and not (undelete and _taken_away(known[-1])):
        return None  # a repeat; or a history merge: other revisions came to a page that stood
    if not page.texts and event.prior_rev_id is not None:
        page.texts.append((event.prior_rev_id, event.prior_rev_sha1))
    if all(rev_id != event.rev_id for rev_id, _ in page.texts):
        page.texts.append((event.rev_id, event.rev_sha1))
    edit = Edit(place, event, epoch=known[-1].epoch + 1 if known else int(undelete))
    page.edits.append(edit)
    return edit


def _taken_away(edit: Edit) -> bool:
    return any(said.signal.kind in {SignalKind.PAGE_DELETE, SignalKind.HIDE} for said in edit.said)


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
    reverts = {SignalKind.IDENTITY_REVERT, SignalKind.DECLARED_REVERT}
    by_self = [said.signal.by_self for said in edit.said if said.signal.kind in reverts]
    return bool(by_self) and all(by_self)
