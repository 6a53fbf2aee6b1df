"""The history of one page as the log tells it: its edits, and what was said about each. One rule, one function.

Source of the rules: a revert restores the SHA-1 of one of the sixteen revisions before it, or declares what it undid;
`mw-reverted` names what was undone; a deletion concerns every revision of the page, a hiding one, and its end opens
another epoch; a model scores one revision. What names no page is `processors.oracle_unplaced`'s.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from processors.oracle_facts import PageKey
from processors.oracle_ledger import Offered
from processors.oracle_log import Partition, page_of
from processors.oracle_page import Edit, Page, Said
from processors.oracle_unplaced import Unplaced, looked_at, protects, unplaced_of
from schemas.decision import Signal
from schemas.event import EDIT_KINDS, RISK_STREAMS, PageChange, Prediction, TagsChange, VisibilityChange
from schemas.reasons import Bar, SignalKind

RADIUS = 16
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
    for place, behind, offered in sorted(mine, key=lambda each: each[:2]):
        if partition.policies_at(place) is None:
            continue
        if not _is_known(page, place + behind, waiting):
            page.texts.clear()
            page.topics.append((place, frozenset()))
            page.protected.append((place, 0, False))
        told = list(reverts(page, place, offered))
        edit = _announce(page, place, offered)
        told += [target for rule in RULES[1:] for target in rule(page, place, offered)]
        told += list(_of_a_log(page, place, offered))
        for rev_id, signal in told:
            _tell(page, place, rev_id, signal, waiting)
        if _stays(page, place, offered, waiting):
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
    edit = Edit(place, event, epoch, doc=offered.doc or {}, partial=orphan)
    edit.restores = same[-1] if same and not undelete else 0
    page.add(edit)
    return edit


def _taken_away(edit: Edit) -> bool:
    return any(said.signal.kind in {SignalKind.PAGE_DELETE, SignalKind.HIDE} for said in edit.said)


def _show(page: Page, place: int, event: VisibilityChange) -> None:
    """A hidden revision that is all visible again begins anew."""
    now, was = event.visibility, event.prior
    shown = (now.text and now.user and now.comment) and not (was.text and was.user and was.comment)
    edit = page.newest(event.rev_id, place) if shown else None
    if edit is not None and any(said.signal.kind is SignalKind.HIDE for said in edit.said):
        page.add(Edit(place, edit.event, edit.epoch + 1, doc=edit.doc, shown=event, partial=edit.partial))


def _of_a_log(page: Page, place: int, offered: Offered) -> Iterator[Target]:
    """A patrol, an approval, or that it was taken back."""
    said = Unplaced.of(place, offered)
    if said is not None and said.signal is not None and said.rev_id:
        yield said.rev_id, said.signal


def _stays(page: Page, place: int, offered: Offered, waiting: Sequence[tuple[int, int, Signal]]) -> bool:
    """Topics of a page of which nothing is known wait for its first edit only where a rule asks for topics."""
    of_topics = isinstance(offered.event, Prediction) and offered.event.meta.stream not in RISK_STREAMS
    return not of_topics or page.partition.limits(place).topics or _is_known(page, place, waiting)


def _note(page: Page, place: int, offered: Offered, told: Sequence[Target]) -> None:
    """What is so of the page as a whole from here on."""
    event = offered.event
    if isinstance(event, Prediction) and event.meta.stream not in RISK_STREAMS:
        page.topics.append((place, frozenset(t for t, sure in event.probabilities.items() if sure >= TOPIC)))
        if page.partition.limits(place).topics:
            _keep(page, place, event.meta.at_ms)
    elif (protected := protects(offered)) is not None and offered.event is not None:
        page.protected.append((place, offered.event.meta.at_ms, protected))
        _keep(page, place, offered.event.meta.at_ms)
    elif isinstance(event, PageChange) and event.editor is not None:
        undone = [
            revert
            for rev_id, revert in told
            if revert.kind in REVERTS and not revert.by_self
            if (edit := page.newest(rev_id, place)) is not None and _concerns(edit, revert)
        ]
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


def _concerns(edit: Edit, signal: Signal) -> bool:
    """Else it ended the epoch before."""
    return not edit.epoch or signal.at_ms >= edit.start_ms


def _hear(edit: Edit, place: int, signal: Signal) -> None:
    if not _concerns(edit, signal):
        return
    if signal.kind is SignalKind.REVERTED_TAG and _undone_by_its_own_editor(edit):
        signal = signal._replace(by_self=True)
    edit.said.append(Said(place, signal))


def _undone_by_its_own_editor(edit: Edit) -> bool:
    """The tag does not say who undid it; the reverts heard before it do."""
    by_self = [said.signal.by_self for said in edit.said if said.signal.kind in REVERTS]
    return bool(by_self) and all(by_self)
