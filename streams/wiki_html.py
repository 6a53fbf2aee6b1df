"""The HTML of a revision as Parsoid writes it, of the wikitext that the simulated wikis are made of.

It knows sections, paragraphs, bold, internal and external links, references, templates, comments and categories, with
the attributes by which a reader tells them apart. What else is in a text is shown as it stands.

Source: Specs/HTML/2.8.0, and recorded answers of rest.php/v1/revision/{id}/html.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import orjson

TOKEN = re.compile(
    r"<ref>(?P<ref>.*?)</ref>|\{\{(?P<template>[^{}]*)\}\}|\[\[(?P<link>[^\[\]|]+)(?:\|(?P<shown>[^\[\]]*))?\]\]"
    r"|\[(?P<url>https?://[^\s\]]+)(?P<named>[^\]]*)\]|'''(?P<bold>.+?)'''|<!--(?P<comment>.*?)-->",
    re.DOTALL,
)
HEADING = re.compile(r"== (.+?) ==(?:\n|$)")
RIGHT_TO_LEFT = {"ar", "fa", "he", "ur"}


def page_html(domain: str, site: Mapping[str, Any], found: Mapping[str, Any], text: str) -> str:
    """found: what the action API says of the revision; text: its wikitext; site: the `query` of its siteinfo."""
    revision, title = found["revision"], str(found["title"])
    language = str(site.get("general", {}).get("lang", "en"))
    writer = _Writer(title, str(site.get("namespaces", {}).get("14", {}).get("name", "Category")))
    body = writer.body(text)
    direction = "rtl" if language in RIGHT_TO_LEFT else "ltr"
    base = f"https://{domain}"
    head = (
        f'<meta charset="utf-8"/><meta property="mw:pageId" content="{found["pageid"]}"/>'
        f'<meta property="mw:pageNamespace" content="{found["ns"]}"/>'
        f'<link rel="dc:replaces" resource="mwr:revision/{revision.get("parentid", 0)}"/>'
        f'<meta property="mw:revisionSHA1" content="{revision.get("sha1", "")}"/>'
        f'<meta property="dc:modified" content="{str(revision["timestamp"]).replace("Z", ".000Z")}"/>'
        '<meta property="mw:htmlVersion" content="2.8.0"/><meta property="mw:html:version" content="2.8.0"/>'
        f'<link rel="dc:isVersionOf" href="{base}/wiki/{_address(title)}"/><base href="{base}/wiki/"/>'
        f"<title>{html.escape(title, quote=False)}</title>"
        f'<meta http-equiv="content-language" content="{language}"/><meta http-equiv="vary" content="Accept"/>'
    )
    classes = f"mw-content-{direction} sitedir-{direction} {direction} mw-body-content parsoid-body mediawiki"
    return (
        '<!DOCTYPE html>\n<html prefix="dc: http://purl.org/dc/terms/ mw: http://mediawiki.org/rdf/" '
        f'about="{base}/wiki/Special:Redirect/revision/{revision["revid"]}">'
        f'<head prefix="mwr: {base}/wiki/Special:Redirect/">{head}</head>'
        f'<body id="mwAA" lang="{language}" class="{classes} mw-parser-output" dir="{direction}" '
        f'data-mw-parsoid-version="0.20.8.0" data-mw-html-version="2.8.0">{body}</body></html>'
    )


class _Writer:
    def __init__(self, title: str, category: str) -> None:
        self._title = _address(title)
        self._categories = {category.lower(), "category"}
        self._references: list[str] = []
        self._abouts = 0

    def body(self, text: str) -> str:
        """Sections, each from its heading to the next, and the references at the end."""
        sections: list[list[str]] = [[]]
        for block in text.split("\n\n"):
            heading = HEADING.match(block)
            if heading is not None:
                name = heading[1]
                sections.append([f'<h2 id="{html.escape(name.replace(" ", "_"))}">{html.escape(name)}</h2>'])
                block = block[heading.end() :]
            if block.strip():
                sections[-1].append(self._block(block))
        if self._references:
            sections[-1].append(self._list())
        return "".join(
            f'<section data-mw-section-id="{n}">{chr(10).join(parts)}\n</section>' for n, parts in enumerate(sections)
        )

    def _block(self, block: str) -> str:
        """What stands alone in its lines is no paragraph."""
        written = self._inline(block)
        table, end, rest = written.partition("</table>\n")
        if written.startswith("<table") and end:
            return f"{table}{end}<p>{rest}</p>"
        return written if written.startswith(("<link", "<table")) else f"<p>{written}</p>"

    def _inline(self, text: str) -> str:
        parts, last = [], 0
        for match in TOKEN.finditer(text):
            parts.append(html.escape(text[last : match.start()], quote=False))
            parts.append(self._token(match))
            last = match.end()
        return "".join([*parts, html.escape(text[last:], quote=False)])

    def _token(self, match: re.Match[str]) -> str:
        if match["ref"] is not None:
            return self._reference(match["ref"])
        if match["template"] is not None:
            return self._template(match["template"])
        if match["link"] is not None:
            return self._link(match["link"], match["shown"])
        if match["url"] is not None:
            url = html.escape(match["url"])
            text = self._inline(match["named"].strip())
            return f'<a rel="mw:ExtLink nofollow" href="{url}" class="external text">{text}</a>'
        if match["bold"] is not None:
            return f"<b>{self._inline(match['bold'])}</b>"
        return f"<!--{html.escape(match['comment'])}-->"

    def _link(self, target: str, shown: str | None) -> str:
        prefix = target.partition(":")[0].strip().lower()
        if ":" in target and prefix in self._categories:
            name = target.partition(":")[2]
            return f'<link rel="mw:PageProp/Category" href="./Category:{_address(name)}"/>'
        text = target if shown is None else shown
        title = html.escape(target)
        return f'<a rel="mw:WikiLink" href="./{_address(target)}" title="{title}">{self._inline(text)}</a>'

    def _template(self, inside: str) -> str:
        name, *given = inside.split("|")
        params = {}
        for n, part in enumerate(given, start=1):
            key, equals, value = part.partition("=")
            params[key.strip() if equals else str(n)] = {"wt": (value if equals else key).strip()}
        self._abouts += 1
        target = {"wt": name, "href": f"./Template:{_address(name.strip())}"}
        data = orjson.dumps({"parts": [{"template": {"target": target, "params": params, "i": 0}}]}).decode()
        rows = "".join(
            f"<tr><th>{html.escape(key)}</th><td>{self._inline(value['wt'])}</td></tr>" for key, value in params.items()
        )
        tag = "table" if "\n" in inside else "span"
        inner = rows if tag == "table" else html.escape(" ".join(value["wt"] for value in params.values()))
        data = data.replace("&", "&amp;").replace("'", "&apos;")
        return f'<{tag} about="#mwt{self._abouts}" typeof="mw:Transclusion" data-mw=\'{data}\'>{inner}</{tag}>'

    def _reference(self, text: str) -> str:
        self._references.append(text)
        n = len(self._references)
        body = orjson.dumps({"name": "ref", "attrs": {}, "body": {"id": f"mw-reference-text-cite_note-{n}"}}).decode()
        return (
            f'<sup class="mw-ref reference" id="cite_ref-{n}" rel="dc:references" typeof="mw:Extension/ref" '
            f'data-mw=\'{body}\'><a href="./{self._title}#cite_note-{n}"><span class="mw-reflink-text">[{n}]</span>'
            "</a></sup>"
        )

    def _list(self) -> str:
        notes = "".join(
            f'<li id="cite_note-{n}"><span id="mw-reference-text-cite_note-{n}" class="mw-reference-text">'
            f"{self._inline(text)}</span></li>"
            for n, text in enumerate(self._references, start=1)
        )
        data = orjson.dumps({"name": "references", "attrs": {}}).decode()
        return (
            f'<div class="mw-references-wrap" typeof="mw:Extension/references" data-mw=\'{data}\'>'
            f'<ol class="mw-references references">{notes}</ol></div>'
        )


def _address(title: str) -> str:
    return quote(title.strip().replace(" ", "_"), safe=";@$!*(),/~:")
