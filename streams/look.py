"""`sluice parse` and `sluice delta`: one page or one edit, looked at by hand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from processors.data import compare_data, read_data
from processors.delta import compare
from processors.enrich import bounded_delta, page_content
from processors.html import read_html
from processors.models import model_of
from processors.namespaces import Namespaces
from processors.scan import scan
from schemas.enriched import encode_shown


class UnreadableFile(OSError):
    """A file that is no text."""


def parse_file(file: Path, *, wiki: str, title: str | None, namespaces: Namespaces) -> bytes:
    """The `content` of a record (or its `data`, by the model of the title) as JSON.

    file: wikitext in UTF-8. Raises `OSError`, of which `UnreadableFile` is one.
    """
    text, model = read_text(file), _model(wiki, title, namespaces)
    shown: dict[str, Any] = {"model": model, "title": title, "wiki": wiki, "content": None, "data": None}
    if model == "wikitext":
        shown["content"] = page_content(scan(text, namespaces))
    else:
        shown["data"] = read_data(text, model)
    return _json(shown)


def parse_html_file(file: Path, *, wiki: str, title: str | None) -> bytes:
    """The `rendered` of a record as JSON.

    file: a page as `rest.php/v1/revision/{id}/html` gives it, in UTF-8. Raises `OSError`, as above.
    """
    return _json({"title": title, "wiki": wiki, "rendered": read_html(read_text(file))})


def delta_files(old: Path, new: Path, *, wiki: str, title: str | None, namespaces: Namespaces) -> bytes:
    """The `delta` of a record (or its `data_delta`) as JSON. Raises `OSError`, as above."""
    before, after, model = read_text(old), read_text(new), _model(wiki, title, namespaces)
    shown: dict[str, Any] = {"model": model, "title": title, "wiki": wiki, "delta": None, "data_delta": None}
    if model == "wikitext":
        shown["delta"] = bounded_delta(compare(before, after, namespaces))
    else:
        shown["data_delta"] = compare_data(before, after, model)
    return _json(shown)


def read_text(file: Path) -> str:
    """Without what an editor's program adds: MediaWiki saves no mark of the byte order and one kind of line break."""
    try:
        return file.read_bytes().decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as exc:
        raise UnreadableFile(f"{file} is not UTF-8: byte {exc.start} is {exc.object[exc.start]:#04x}") from exc


def _model(wiki: str, title: str | None, namespaces: Namespaces) -> str:
    return "wikitext" if title is None else model_of(wiki, title, namespaces)


def _json(shown: Mapping[str, Any]) -> bytes:
    return encode_shown(shown) + b"\n"
