"""`sluice parse` and `sluice delta`, as a person runs them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from streams.cli import main

MISUSE = 2


def said(capfd: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capfd.readouterr().out)


@pytest.fixture
def page(tmp_path: Path) -> Path:
    file = tmp_path / "page.txt"
    file.write_text("{{Infobox See|Name=Loch Ness}}\nEin [[See]].\n\n== Tiefe ==\n[[Kategorie:See]]", "utf-8")
    return file


def test_parse_prints_the_content_of_a_page_in_the_words_of_its_wiki(page: Path, capfd: Any) -> None:
    assert main(["parse", str(page), "--wiki", "dewiki", "--title", "Loch Ness"]) == 0
    shown = said(capfd)
    assert (shown["wiki"], shown["title"], shown["model"], shown["data"]) == ("dewiki", "Loch Ness", "wikitext", None)
    content = shown["content"]
    assert (content["abstract"], content["categories"][0]["title"]) == ("Ein See.", "See")
    assert content["infoboxes"][0]["values"] == [{"name": "Name", "text": "Loch Ness"}]
    assert [section["title"] for section in content["sections"]] == ["", "Tiefe"]


def test_a_wiki_that_nobody_knows_is_read_in_english_and_says_so(page: Path, capfd: Any) -> None:
    for wiki, hint in (("dewki", "no words are known of 'dewki'"), ("dewiki", "")):
        assert main(["parse", str(page), "--wiki", wiki]) == 0
        out, err = capfd.readouterr()
        assert json.loads(out)["wiki"] == wiki
        assert hint in err
        assert bool(err) == bool(hint)


def test_a_file_of_another_system_is_read_as_mediawiki_would_save_it(tmp_path: Path, capfd: Any) -> None:
    file = tmp_path / "page.txt"
    file.write_bytes("\ufeff== Tiefe ==\r\n* 230 m\r\n".encode())
    assert main(["parse", str(file)]) == 0
    content = said(capfd)["content"]
    assert (content["plain_text"], [s["title"] for s in content["sections"]]) == ("230 m", ["", "Tiefe"])


def test_parse_prints_the_same_bytes_each_time(page: Path, capfd: Any) -> None:
    outs = [(main(["parse", str(page)]), capfd.readouterr().out) for _ in range(2)]
    assert outs[0] == outs[1]


def test_parse_reads_html_as_the_wiki_rendered_it(tmp_path: Path, capfd: Any) -> None:
    file = tmp_path / "page.html"
    about = 'about="https://de.wikipedia.org/wiki/Spezial:Redirect/revision/42"'
    body = '<p>Ein <a rel="mw:WikiLink" href="./See">See</a>.</p><h2 id="Tiefe">Tiefe</h2>'
    file.write_text(f"<html {about}><head><title>Loch Ness</title></head><body>{body}</body></html>", "utf-8")
    assert main(["parse", str(file), "--html", "--wiki", "dewiki"]) == 0
    out = capfd.readouterr().out
    shown = json.loads(out)
    assert (shown["wiki"], shown["title"]) == ("dewiki", None)
    rendered = shown["rendered"]
    assert (rendered["source"], rendered["rev_id"], rendered["title"]) == ("html", 42, "Loch Ness")
    assert (rendered["abstract"], rendered["links"][0]["title"]) == ("Ein See.", "See")
    assert [section["title"] for section in rendered["sections"]] == ["", "Tiefe"]
    assert json.dumps(shown, indent=2, sort_keys=True, ensure_ascii=False) + "\n" == out


def test_a_title_tells_a_module_from_wikitext(page: Path, capfd: Any) -> None:
    assert main(["parse", str(page), "--wiki", "dewiki", "--title", "Modul:See"]) == 0
    shown = said(capfd)
    assert (shown["model"], shown["content"], shown["data"]["lines"]) == ("Scribunto", None, 5)


def test_delta_prints_what_changed(page: Path, tmp_path: Path, capfd: Any) -> None:
    old = tmp_path / "old.txt"
    old.write_text(page.read_text("utf-8").replace("[[See]]", "See"), "utf-8")
    assert main(["delta", str(old), str(page), "--wiki", "dewiki"]) == 0
    delta = said(capfd)["delta"]
    assert delta["links"] == {"added": ["See"], "removed": []}
    assert delta["byte_delta"] == 4
    assert main(["delta", str(old), str(page), "--wiki", "dewiki", "--title", "User:A/b.css"]) == 0
    assert said(capfd)["data_delta"]["lines_added"] == 1


def test_a_file_that_is_missing_or_no_text_is_named(tmp_path: Path, capfd: Any) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"ab\xff")
    for arguments, words in (
        (["parse", str(tmp_path / "none")], "none"),
        (["parse", str(tmp_path)], str(tmp_path)),
        (["parse", str(binary)], "not UTF-8: byte 2 is 0xff"),
        (["parse", str(binary), "--html"], "not UTF-8: byte 2 is 0xff"),
        (["delta", str(binary), str(binary)], "not UTF-8"),
    ):
        assert main(arguments) == MISUSE
        captured = capfd.readouterr()
        assert (captured.out, words in captured.err) == ("", True)


def test_the_siteinfo_of_a_wiki_in_the_folder_wins_and_a_wrong_one_is_named(
    page: Path, tmp_path: Path, capfd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "siteinfo"
    folder.mkdir()
    (folder / "dewiki.json").write_text('{"query":{"namespaces":{"14":{"id":14,"name":"Sippe"}}}}', "utf-8")
    monkeypatch.setenv("SLUICE_SITEINFO", str(folder))
    assert main(["parse", str(page), "--wiki", "dewiki"]) == 0
    assert said(capfd)["content"]["categories"] == []
    (folder / "dewiki.json").write_text("[]", "utf-8")
    assert main(["parse", str(page), "--wiki", "dewiki"]) == MISUSE
    assert "dewiki.json: no siteinfo" in capfd.readouterr().err
    monkeypatch.setenv("SLUICE_SITEINFO", str(tmp_path / "none"))
    assert main(["parse", str(page)]) == MISUSE
    assert "no such folder" in capfd.readouterr().err
