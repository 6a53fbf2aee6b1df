"""The last revisions of a page with their SHA-1s, by which an edit that brings an earlier text back is known. Pure.

Ids are positive; below 0 are marks of places where histories were merged, with the event's id in a SHA-1's place.
"""

from __future__ import annotations

from schemas.page import Page

# Radius of an identity revert: at most 15 revisions lie between the restored one and the restoring one.
RING = 16


def remember(ring: dict[int, str | None], rev_id: int, sha1: str | None) -> None:
    """Put a revision behind all others, and forget the first of too many."""
    ring[rev_id] = sha1
    if len(ring) > RING:
        del ring[next(iter(ring))]


def is_merged(ring: dict[int, str | None]) -> bool:
    """Whether one of the places still counts."""
    return min(ring, default=0) < 0


def merged(page: Page, event_id: str) -> None:
    """Revisions came to this page's history, or left it: until so many new ones are met that none of the others counts,
    what an edit reverts and stands on is known in part only.
    """
    if event_id not in page.ring.values():
        page.dirty = True
        remember(page.ring, min(0, *page.ring) - 1 if page.ring else -1, event_id)
        for edit in page.open:
            edit.partial = True
