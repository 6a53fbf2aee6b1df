"""From wikitext whose links, templates, tables and references are gone, to what a reader would read."""

from __future__ import annotations

import html
import re

# Expressions begin with characters as they stand, wherever that can be: such are looked for ten times as fast.
BREAK = re.compile(r"<(?:br|p|li|tr|hr)\b[^<>]*+>", re.IGNORECASE)
TAG = re.compile(r"</?[a-zA-Z][^<>]*+>")
QUOTES = re.compile(r"''++")
SWITCH = re.compile(r"__[^\W\d_]{3,40}__")
# Marks at the start of a line: lists, rules, and what is left of tables that a template began or nobody ended.
LINE = re.compile(r"\n(?:([*#:;]++)[ \t]*+|-{4,}+|[ \t]*+(?:\{\||\|)[^\n]*+|[ \t]++)")
# Stands around the marks of a list's line while a text is cleaned. MediaWiki refuses the character in a page.
MARK = "\x7f"
# Stands where something was left out behind a mark that would look odd with nothing behind it.
HOLE = "\x02"
BEFORE_HOLE = frozenset("(（,;،؛、，；'")
_PARTED = r"\s,;:،؛、，；:/"
_EMPTY = rf"[{_PARTED}–—-]*+{HOLE}[{_PARTED}{HOLE}–—-]*+[)）]"
_FIRST = rf"[{_PARTED}]*+{HOLE}[{_PARTED}{HOLE}]*+"
# Where there are brackets of both widths, and where all are narrow.
EMPTY, EMPTY_NARROW = re.compile(rf"[(（]{_EMPTY}"), re.compile(rf"\({_EMPTY}")
FIRST, FIRST_NARROW = re.compile(rf"([(（]){_FIRST}"), re.compile(rf"(\(){_FIRST}")
LAST = re.compile(rf"[,;،؛、，；] ?{HOLE}[{_PARTED}{HOLE}]{{0,40}}(?=[)）])")
# Wikis in these languages write one page for several scripts or countries, and `-{...}-` where a word differs.
VARIANTS = frozenset(
    ["ban", "crh", "gan", "iu", "kk", "ku", "mni", "sh", "shi", "sr", "tg", "tly", "uz", "wuu", "zgh", "zh"]
)
VARIANT = re.compile(r"-\{([^{}\n]*+)\}-|-\{(?:[A-Za-z;-]*+\|)?\Z|\A\}-")
FOR_ONE = re.compile(r"\s*+[a-z]{2,4}(?:-[a-z]+)?\s*+:([^;]*+)")
ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
SPACES = re.compile(r"  ++")
BLANK = re.compile(r"\n\n\n++")


def clean(text: str, lists: bool = False) -> str:
    """Plain text: no tags, bold, italics, switches; entities decoded; at most one blank line in a row. Marks of lists
    go, or stay between two `MARK` for `take_lists`."""
    if "<" in text:
        text = TAG.sub("", BREAK.sub("\n", text))
    if "''" in text:
        text = "\n".join(strip_quotes(line) if "'''" in line else line for line in text.split("\n")).replace("''", "")
    if HOLE in text:
        text = fill_holes(text)
    if "__" in text:
        text = SWITCH.sub("", text)
    text = LINE.sub(_marked if lists else "\n", "\n" + text.replace("\t", " ").replace("\u00a0", " "))
    if "&" in text:
        text = decode_entities(text)
    if "  " in text:
        text = SPACES.sub(" ", text)
    if " \n" in text:
        text = text.replace(" \n", "\n")
    return (BLANK.sub("\n\n", text) if "\n\n\n" in text else text).strip()


def _marked(match: re.Match[str]) -> str:
    empty = match.string[match.end() : match.end() + 1] in {"", "\n"}
    return "\n" if empty or not match[1] else f"\n{MARK}{match[1]}{MARK}"


def clean_inline(text: str) -> str:
    """The same for a piece of a line: a heading, the text of a link."""
    if "<" in text:
        text = TAG.sub("", text)
    if "''" in text:
        text = "\n".join(strip_quotes(line) for line in text.split("\n")) if "'''" in text else text.replace("''", "")
    if HOLE in text:
        text = fill_holes(text)
    if "&" in text:
        text = decode_entities(text)
    return text.strip() if "\n" not in text and "  " not in text else " ".join(text.split())


def fill_holes(text: str) -> str:
    """Brackets that only held what was left out go, and separators at their edges.

    >>> fill_holes(f"Berlin ({HOLE}; ) and Riga ({HOLE}, born {HOLE}1201, {HOLE})")
    'Berlin and Riga (born 1201)'
    """
    if ")" in text or "）" in text:
        empty, first = (EMPTY, FIRST) if "（" in text else (EMPTY_NARROW, FIRST_NARROW)
        text = LAST.sub("", first.sub(r"\1", _without(text, empty)))
    return text.replace(HOLE, "")


def _without(text: str, empty: re.Pattern[str]) -> str:
    """Brackets that hold nothing go, each with one space before it."""
    kept, at = [], 0
    for match in empty.finditer(text):
        start = match.start()
        kept.append(text[at : start - (start > at and text[start - 1] == " ")])
        at = match.end()
    kept.append(text[at:])
    return "".join(kept)


def without_variants(text: str) -> str:
    """What `-{...}-` shows: the words as they are, or of those for several variants the first.

    >>> without_variants("-{zh-hans:联邦州; zh-hant:邦}-, 56 -{km}--{H|zh-cn:a;zh-tw:b}-")
    '联邦州, 56 km'
    """
    return VARIANT.sub(_shown, text)


def _shown(match: re.Match[str]) -> str:
    flags, bar, said = (match[1] or "").partition("|")
    if not bar:
        flags, said = "", flags
    if flags.strip() in {"H", "T", "-"}:
        return ""
    one = FOR_ONE.match(said)
    return one[1].strip() if one else said


def literal(text: str) -> str:
    """Hide from `clean` what `<nowiki>` says is no markup."""
    return text.replace("<", "&lt;").replace("'", "&#39;").replace("_", "&#95;")


def decode_entities(text: str) -> str:
    """`&nbsp;` becomes a plain space; what HTML does not know stays as it is."""
    return ENTITY.sub(lambda match: html.unescape(match.group()), text).replace("\u00a0", " ")


def strip_quotes(line: str) -> str:
    """Remove bold and italics from one line.

    MediaWiki resolves quotes per line: 4 are an apostrophe and bold, more than 5 are apostrophes and both; where bold
    and italics are both left open, one bold was an apostrophe and italics, as in l'''amour''.

    Source: Parser::doQuotes of MediaWiki.
    """
    if "'''" not in line:
        return line.replace("''", "")
    runs = [(match.start(), match.end()) for match in QUOTES.finditer(line)]
    sizes = [_size(end - start) for start, end in runs]
    italics = sum(size in {2, 5} for size in sizes)
    bolds = sum(size in {3, 5} for size in sizes)
    apostrophe = _apostrophe(line, runs, sizes) if italics % 2 and bolds % 2 else -1
    pieces, at = [], 0
    for number, (start, end) in enumerate(runs):
        left = end - start - sizes[number] + (number == apostrophe)
        pieces.append(line[at:start] + "'" * left)
        at = end
    pieces.append(line[at:])
    return "".join(pieces)


def _size(length: int) -> int:
    """How many of a run of quotes are markup."""
    return {2: 2, 3: 3, 4: 3}.get(length, 5)


def _apostrophe(line: str, runs: list[tuple[int, int]], sizes: list[int]) -> int:
    """Number of the bold that is an apostrophe and italics: after a one-letter word, after any word, after a space."""
    word = space = -1
    for number, (_, end) in enumerate(runs):
        if sizes[number] != 3:
            continue
        before = line[max(end - 5, 0) : end - 3]
        if before.endswith(" "):
            space = number if space < 0 else space
        elif len(before) == 2 and before[0] == " ":
            return number
        else:
            word = number if word < 0 else word
    return word if word >= 0 else space
