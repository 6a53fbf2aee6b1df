"""What wikis say of themselves, in a folder: their namespaces, magic words and redirects instead of the shipped ones.

A file per wiki, `<wiki>.json`: what its API answers to `action=query&meta=siteinfo&siprop=general|namespaces|
namespacealiases|magicwords|interwikimap&format=json`; `sluice siteinfo` fetches it. Read once, at start, so that a
running step gives the same bytes for the same text.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import orjson

from processors.namespaces import Namespaces, namespaces_from, namespaces_of
from streams.settings import InvalidSetting


def words_of(folder: str) -> Callable[[str], Namespaces]:
    """From a wiki's name to its words. folder: "" = the shipped table alone. Raises `InvalidSetting`."""
    known = {path.stem: _read(path) for path in _files(folder)} if folder else {}
    return lambda wiki: known.get(wiki) or namespaces_of(wiki)


def _files(folder: str) -> list[Path]:
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise InvalidSetting(f"SLUICE_SITEINFO={folder!r}: no such folder")
    return sorted(path.glob("*.json"))


def _read(path: Path) -> Namespaces:
    try:
        return namespaces_from(path.stem, orjson.loads(path.read_bytes()))
    except ValueError as exc:
        raise InvalidSetting(f"SLUICE_SITEINFO: {path}: {exc}") from exc
