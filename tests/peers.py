"""What the gate and those that it is compared with are given: a log of real size with edits, reverts and ticks."""

from __future__ import annotations

import random
from collections.abc import Iterator

import orjson

from schemas.event import PAGE_CHANGE, TAGS_CHANGE, VISIBILITY_CHANGE, rfc3339
from schemas.log import KIND_EVENT, KIND_TICK, Tick, encode_tick

EPOCH = 1_800_000_000_000


def history(count: int, pages: int = 0) -> Iterator[tuple[bytes, bytes]]:
    """Records of the log, of real size: `count` edits of count/10 pages, a twentieth of them reverts, and ticks."""
    pages = pages or count // 10
    chooser = random.Random(7)
    revisions: dict[int, list[tuple[int, str]]] = {}
    shown = dict.fromkeys(("is_content_visible", "is_editor_visible", "is_comment_visible"), True)
    for n in range(count):
        page = 1 + chooser.randrange(pages)
        before = revisions.setdefault(page, [(page, f"{page:031}")])
        rev, parent = 100_000_000 + n, before[-1]
        sha1 = before[-2][1] if len(before) > 1 and chooser.random() < 0.05 else f"{rev:031}"
        before[:] = [*before[-2:], (rev, sha1)]
        at_ms = EPOCH + n * 50
        dt = rfc3339(at_ms)
        editor = {"user_text": f"User {n % 97}", "user_id": 1 + n % 97, "is_bot": False, "is_temp": False,
                  "groups": ["*", "user"], "edit_count": 40, "registration_dt": "2020-01-01T00:00:00Z"}  # fmt: skip
        doc = {
            "$schema": "/mediawiki/page/change/1.2.0",
            "meta": {"id": f"{n:08}-0000-4000-8000-000000000000", "stream": PAGE_CHANGE, "domain": "en.wikipedia.org",
                     "dt": dt, "uri": f"https://en.wikipedia.org/wiki/Page_{page}", "request_id": f"{n:036}",
                     "topic": f"eqiad.{PAGE_CHANGE}", "partition": 0, "offset": n},
            "changelog_kind": "update",
            "page_change_kind": "edit",
            "dt": dt,
            "wiki_id": "enwiki",
            "page": {"page_id": page, "page_title": f"Page {page}", "namespace_id": 0, "is_redirect": False},
            "performer": editor,
            "revision": {
                "rev_id": rev, "rev_parent_id": parent[0], "rev_dt": dt, "is_minor_edit": False, "rev_sha1": sha1,
                "rev_size": 9999, "comment": "/* History */ " + "what was changed, and why " * 3, "editor": editor,
                "content_slots": {"main": {"slot_role": "main", "content_model": "wikitext", "content_size": 9999,
                                           "content_sha1": sha1, "content_format": "text/x-wiki"}},
                **shown,
            },
            "prior_state": {"revision": {"rev_id": parent[0], "rev_dt": dt, "rev_sha1": parent[1], "rev_size": 9998}},
        }  # fmt: skip
        yield KIND_EVENT, orjson.dumps(doc)
        if n % 20 == 19:
            heard = dict.fromkeys((PAGE_CHANGE, TAGS_CHANGE, VISIBILITY_CHANGE), at_ms)
            yield KIND_TICK, encode_tick(Tick(number=n, heard_ms=heard, cursor=()))
