"""The join of publish: a release waits for its content, content waits for its verdicts. Pure, one page at a time.

Both name the event that announced the edit, so an undeleted revision is never joined with what it was before.

What went out is remembered for as long as its topic keeps it: what was hidden at the source must go from there,
whatever was decided about it before. Most of it was undone, and so taken back, long before somebody hid it.

Per policy, releases of a page go out in the order they were decided, so one that waits for its content holds back the
later ones. A retraction waits for nothing; if its release has not gone out yet, neither does.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from schemas.decision import Decision
from schemas.delivery import SENT_BYTES, Delivery, Head, Held, Queued, Sent, pack_sent, unpack_sent
from schemas.reasons import State

# Content whose verdicts never came (a repeat, a policy that is gone) is forgotten after this: as long as `enriched`
# keeps it.
KEEP_MS = 35 * 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """An edit goes out. offset: its content in `enriched`. is_head: it is now what the page shows."""

    decision: Decision
    decided_at_ms: int
    offset: int
    is_head: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Retract:
    """An edit that is out is taken back. was_head: the page showed it."""

    decision: Decision
    decided_at_ms: int
    was_head: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Erase:
    """What went out of an edit must go: all of it, or (wholly is false) only what it says of its parent.

    on_page: the page shows it, or did.
    """

    policy: str
    sent: Sent
    wholly: bool
    on_page: bool


Emission = Release | Retract


def content_came(
    page: Delivery, event_id: str, rev_id: int, offset: int, at_ms: int, policies: Collection[str]
) -> tuple[Delivery, list[Emission]]:
    """`enriched` has a record of the edit that `event_id` announced at `offset`; a later one replaces an earlier."""
    held = _held(page, event_id) or Held(event_id=event_id, offset=offset, at_ms=at_ms)
    page = replace(page, held=tuple(h for h in page.held if h.at_ms > at_ms - KEEP_MS))
    if held.settled.issuperset(policies):
        return _drop(page, event_id), []
    page = _hold(page, replace(held, offset=offset, at_ms=at_ms, rev_id=rev_id))
    return _drain(page, policies, at_ms)


def content_went(page: Delivery, rev_id: int) -> Delivery:
    """What `enriched` had of a revision was erased: a release of it waits for what may come in its place."""
    held = tuple(replace(h, offset=None) if h.rev_id == rev_id else h for h in page.held)
    return page if held == page.held else replace(page, held=held)


def unsay(page: Delivery, rev_id: int, at_ms: int, *, wholly: bool) -> tuple[Delivery, list[Erase]]:
    """A revision was hidden (wholly), or the one before it was.

    rev_id: 0 = each of the page. at_ms: broker time of the record that says so; what is said in its place is not older.
    """
    erasures: list[Erase] = []
    sent = dict(page.sent)
    for policy, head in page.heads.items():
        every = list(unpack_sent(page.sent.get(policy, b"")))
        gone = [each for each in every if rev_id in {0, each.rev_id}]
        kept = [each for each in every if each not in gone]
        if rev_id in {0, head.rev_id} and all(_place(each) != _place(head) for each in gone):
            # The page may show what its own topic keeps no more.
            gone.append(Sent(rev_id=head.rev_id, epoch=head.epoch, at_ms=0))
        for each in gone:
            on_page = _place(each) == _place(head) and (wholly or not each.retracted)
            erasures.append(Erase(policy=policy, sent=each, wholly=wholly, on_page=on_page))
        sent[policy] = pack_sent([*kept, *(() if wholly else (replace(each, at_ms=at_ms) for each in gone))])
    return replace(page, sent=sent) if erasures else page, erasures


def _place(of: Sent | Head | Decision) -> tuple[int, int]:
    return of.rev_id, of.epoch


def decided(
    page: Delivery, decisions: Sequence[Decision], decided_at_ms: int, policies: Collection[str]
) -> tuple[Delivery, list[Emission]]:
    """The gate decided; what `policies` does not name has no topic and is passed over."""
    emissions: list[Emission] = []
    for decision in decisions:
        if decision.policy not in policies:
            continue
        if decision.state is State.RELEASED:
            page = replace(page, queue=(*page.queue, Queued(decision=decision, decided_at_ms=decided_at_ms)))
            page, made = _drain(page, policies, decided_at_ms)
            emissions += made
        elif decision.state is State.RETRACTED:
            page, made = _retract(page, decision, decided_at_ms, policies)
            emissions += made
        else:
            page = _settle(page, decision, policies)
    return page, emissions


def _retract(
    page: Delivery, decision: Decision, decided_at_ms: int, policies: Collection[str]
) -> tuple[Delivery, list[Emission]]:
    waiting = [q for q in page.queue if _same_edit(q.decision, decision)]
    if waiting:
        page = replace(page, queue=tuple(q for q in page.queue if q not in waiting))
        return _drain(_settle(page, decision, policies), policies, decided_at_ms)
    was_head = page.heads.get(decision.policy) == Head(rev_id=decision.rev_id, epoch=decision.epoch)
    if packed := page.sent.get(decision.policy):
        every = unpack_sent(packed)
        sent = (replace(each, retracted=True) if _place(each) == _place(decision) else each for each in every)
        page = replace(page, sent={**page.sent, decision.policy: pack_sent(sent)})
    return page, [Retract(decision=decision, decided_at_ms=decided_at_ms, was_head=was_head)]


def _drain(page: Delivery, policies: Collection[str], at_ms: int) -> tuple[Delivery, list[Emission]]:
    """Let out every queued release whose content is there and that waits behind no other of its policy. at_ms: now."""
    emissions: list[Emission] = []
    blocked: set[str] = set()
    for queued in page.queue:
        decision = queued.decision
        held = _held(page, decision.event_id)
        if decision.policy in blocked or held is None or held.offset is None:
            blocked.add(decision.policy)
            continue
        head = page.heads.get(decision.policy)
        is_head = head is None or (decision.rev_id, decision.epoch) > (head.rev_id, head.epoch)
        if is_head:
            new = Head(rev_id=decision.rev_id, epoch=decision.epoch)
            page = replace(page, heads={**page.heads, decision.policy: new})
        emissions.append(
            Release(decision=decision, decided_at_ms=queued.decided_at_ms, offset=held.offset, is_head=is_head)
        )
        page = replace(page, queue=tuple(q for q in page.queue if q is not queued))
        page = _settle(_send(page, decision, at_ms), decision, policies)
    return page, emissions


def _send(page: Delivery, decision: Decision, at_ms: int) -> Delivery:
    """Remember that it went out, and forget what its topic keeps no more."""
    packed = page.sent.get(decision.policy, b"")
    for oldest in unpack_sent(packed):
        if oldest.at_ms > at_ms - KEEP_MS:
            break
        packed = packed[SENT_BYTES:]
    packed += pack_sent([Sent(rev_id=decision.rev_id, epoch=decision.epoch, at_ms=at_ms)])
    return replace(page, sent={**page.sent, decision.policy: packed})


def _settle(page: Delivery, decision: Decision, policies: Collection[str]) -> Delivery:
    """Note that a policy has decided; once all have, the content is needed no more."""
    held = _held(page, decision.event_id) or Held(event_id=decision.event_id, offset=None, at_ms=decision.start_ms)
    settled = held.settled | {decision.policy}
    if held.offset is not None and settled.issuperset(policies):
        return _drop(page, decision.event_id)
    return _hold(page, replace(held, settled=settled))


def _held(page: Delivery, event_id: str) -> Held | None:
    return next((held for held in page.held if held.event_id == event_id), None)


def _hold(page: Delivery, held: Held) -> Delivery:
    dropped = _drop(page, held.event_id)
    return replace(dropped, held=(*dropped.held, held))


def _drop(page: Delivery, event_id: str) -> Delivery:
    return replace(page, held=tuple(h for h in page.held if h.event_id != event_id))


def _same_edit(one: Decision, other: Decision) -> bool:
    return (one.policy, one.rev_id, one.epoch) == (other.policy, other.rev_id, other.epoch)
