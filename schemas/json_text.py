"""JSON that anyone may have written, where a text belongs."""

from __future__ import annotations

from typing import Any

import orjson

# Python's own words for a value recurse and fail at a depth that JSON may have; so does what writes JSON.
TOO_DEEP = "…"


def as_text(value: Any) -> str:
    """A text as it is, anything else as JSON.

    value: as `orjson.loads` gives it.

    >>> as_text("a"), as_text(52.5), as_text({"b": [True]})
    ('a', '52.5', '{"b":[true]}')
    """
    if isinstance(value, str):
        return value
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    except orjson.JSONEncodeError:
        return TOO_DEEP
