"""`sluice siteinfo`: what chosen wikis say of themselves, asked for and kept in the folder that steps read at start."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from processors.namespaces import namespaces_from
from processors.pace import Budget
from processors.wikis import domain_of
from streams.content_api import ContentApi, Trouble
from streams.content_source import UnknownSite
from streams.queries import ask
from streams.settings import InvalidSetting, Settings

QUERY = {"meta": "siteinfo", "siprop": "general|namespaces|namespacealiases|magicwords|interwikimap"}
NAME = re.compile(r"[a-z0-9_]{1,64}", re.ASCII)


async def fetch(settings: Settings, wikis: Mapping[str, str]) -> AsyncIterator[tuple[str, str]]:
    """Ask wikis and keep what they say in the folder of `SLUICE_SITEINFO`, which is made where it is missing.

    wikis: name → domain, "" = the one that the name tells. Yields (wiki, "") as each is written, or (wiki, why not):
    then its file stays as it was. Raises `InvalidSetting` and `OSError`.
    """
    folder, budget = _folder(settings, wikis), Budget(settings.requests_per_minute)
    async with ContentApi(settings) as api:
        for wiki, domain in wikis.items():
            try:
                doc = _own(wiki, await ask(api, budget, (wiki, domain or domain_of(wiki)), QUERY))
            except (Trouble, UnknownSite, ValueError) as exc:
                yield wiki, str(exc)
                continue
            _write(folder / f"{wiki}.json", doc)
            yield wiki, ""


def _folder(settings: Settings, wikis: Mapping[str, str]) -> Path:
    """Made, if every name of a wiki may be one of a file."""
    if not settings.siteinfo:
        raise InvalidSetting("set SLUICE_SITEINFO to the folder that keeps what wikis say of themselves")
    for wiki in wikis:
        if not NAME.fullmatch(wiki):
            raise InvalidSetting(f"{wiki!r} is no name of a wiki, as enwiki")
    folder = Path(settings.siteinfo).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _own(wiki: str, doc: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is kept of an answer. Raises `ValueError` if it is no siteinfo, or that of another wiki."""
    namespaces_from(wiki, doc)
    query = doc["query"]
    named = query.get("general", {}).get("wikiid")
    if named != wiki or not query.get("namespaces"):
        raise ValueError(f"the siteinfo of {named!r}: say {wiki}=its.domain.org")
    return {"query": query}


def _write(path: Path, doc: Mapping[str, Any]) -> None:
    """Whole or not at all: a step that starts meanwhile reads the folder."""
    unfinished = path.with_suffix(".unfinished")
    with unfinished.open("wb") as file:
        file.write(orjson.dumps(doc, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2))
        file.flush()
        os.fsync(file.fileno())
    os.replace(unfinished, path)
