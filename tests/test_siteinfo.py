"""`sluice siteinfo`: the words of wikis, fetched from them into the folder that steps read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from api_server import ApiServer, http

from processors.wikis import domain_of
from streams.cli import main
from streams.eventstreams import SimulatedSource
from streams.settings import InvalidSetting, Settings
from streams.siteinfo import words_of
from streams.siteinfo_fetch import fetch
from streams.wiki_names import names
from streams.world import build_world

MISUSE = 2


@pytest.fixture
async def settings(tmp_path: Path) -> AsyncIterator[Settings]:
    source = SimulatedSource(build_world(1, seconds=1, tail_seconds=0))
    await source.start()
    folder = str(tmp_path / "new" / "siteinfo")
    yield Settings(content=source.content, siteinfo=folder, requests_per_minute=60_000.0)
    await source.stop()


def kept(settings: Settings) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(settings.siteinfo).glob("*")}


def put(settings: Settings, name: str, payload: bytes) -> None:
    Path(settings.siteinfo).mkdir(parents=True)
    (Path(settings.siteinfo) / name).write_bytes(payload)


async def fetched(settings: Settings, **wikis: str) -> dict[str, str]:
    return {wiki: trouble async for wiki, trouble in fetch(settings, wikis)}


async def test_what_a_wiki_says_of_itself_is_kept_and_is_what_steps_read(settings: Settings) -> None:
    assert await fetched(settings, dewiki="", enwiki="en.wikipedia.org") == {"dewiki": "", "enwiki": ""}
    assert kept(settings).keys() == {"dewiki.json", "enwiki.json"}
    numbers = words_of(settings.siteinfo)("dewiki").numbers
    assert (numbers["kategorie"], numbers["category"], numbers["file"]) == (14, 14, 6)
    # The table would have known more: this is the wiki's own.
    assert "bild" not in numbers


async def test_the_same_answer_is_the_same_file(settings: Settings) -> None:
    await fetched(settings, dewiki="")
    before = kept(settings)
    await fetched(settings, dewiki="")
    assert before == kept(settings) != {}


async def test_a_wiki_that_does_not_say_leaves_its_file_as_it_was_and_the_others_are_asked(
    settings: Settings,
) -> None:
    put(settings, "jawiki.json", b"as it was")
    troubles = await fetched(
        settings, jawiki="de.wikipedia.org", xywiki="xy.example.org", enwikiquote="", x="", dewiki=""
    )
    assert troubles.pop("dewiki") == ""
    assert troubles.pop("jawiki") == "the siteinfo of 'dewiki': say jawiki=its.domain.org"
    assert "no domain of a Wikimedia project" in troubles.pop("xywiki")
    assert "no domain of a Wikimedia project" in troubles.pop("x")
    assert "HTTP 404" in troubles.pop("enwikiquote")
    assert troubles == {}
    assert kept(settings).keys() == {"dewiki.json", "jawiki.json"}
    assert kept(settings)["jawiki.json"] == b"as it was"


async def test_a_wiki_that_is_not_there_is_asked_once(tmp_path: Path) -> None:
    async with ApiServer() as server:
        server.replies = [http(404), http(410)]
        settings = Settings(content=server.template, siteinfo=str(tmp_path), requests_per_minute=60_000.0)
        assert await fetched(settings, enwikiquote="", dewikiquote="") == {
            "enwikiquote": "failed: HTTP 404",
            "dewikiquote": "failed: HTTP 410",
        }
        assert len(server.requests) == 2


async def test_a_name_that_would_leave_the_folder_is_refused_before_anything_is_asked(settings: Settings) -> None:
    for name in ("../dewiki", "", "De"):
        with pytest.raises(InvalidSetting, match="no name of a wiki"):
            await fetched(settings, **{name: "de.wikipedia.org"})
    assert kept(settings) == {}


def test_the_command_needs_the_folder_and_says_so(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["siteinfo", "--wikis", "dewiki"]) == MISUSE
    assert "SLUICE_SITEINFO" in capfd.readouterr().err


def test_the_domain_of_a_wiki_is_known_by_its_name() -> None:
    assert {name.wiki: domain_of(name.wiki) for name in names(300)} == {name.wiki: name.domain for name in names(300)}
    assert [domain_of(wiki) for wiki in ("be_x_oldwiki", "zh_yuewiki", "metawiki", "wikimania2019", "wiki")] == [
        "be-tarask.wikipedia.org", "zh-yue.wikipedia.org", "meta.wikimedia.org", "", ""
    ]  # fmt: skip
