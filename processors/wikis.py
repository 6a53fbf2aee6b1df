"""What is known of wikis by their names: their domains, and which can say that an edit was looked at. Elsewhere a rule
that requires it does without.

Source: wikimedia/operations-mediawiki-config, wgUseRCPatrol and dblists/flaggedrevs.dblist, August 2026; those of its
entries that are known to us by name.
"""

from __future__ import annotations

from processors.namespaces import language_of
from schemas.policy import Risk

_PATROL = frozenset(
    f"{language}wiki" for language in ("fr", "it", "nl", "pt", "zh", "vi", "id", "fa", "he", "no", "cs", "ro", "fi")
) | {"wikidatawiki", "commonswiki", "metawiki"}
_REVIEW = frozenset(
    f"{language}wiki" for language in ("de", "pl", "ru", "hu", "fi", "uk", "tr", "ar", "be", "ka", "eo", "sq")
)

_FAMILIES = ("wiktionary", "wikibooks", "wikinews", "wikiquote", "wikisource", "wikiversity", "wikivoyage")
_DOMAINS = {
    "be_x_oldwiki": "be-tarask.wikipedia.org",
    "commonswiki": "commons.wikimedia.org",
    "incubatorwiki": "incubator.wikimedia.org",
    "mediawikiwiki": "www.mediawiki.org",
    "metawiki": "meta.wikimedia.org",
    "sourceswiki": "wikisource.org",
    "specieswiki": "species.wikimedia.org",
    "wikidatawiki": "www.wikidata.org",
    "wikifunctionswiki": "www.wikifunctions.org",
}


def domain_of(wiki: str) -> str:
    """The domain that a wiki has by its name, "" where the name does not tell.

    >>> domain_of("zh_min_nanwiki"), domain_of("frwiktionary"), domain_of("commonswiki"), domain_of("x")
    ('zh-min-nan.wikipedia.org', 'fr.wiktionary.org', 'commons.wikimedia.org', '')
    """
    language = language_of(wiki)
    if wiki in _DOMAINS or not language:
        return _DOMAINS.get(wiki, "")
    family = wiki[len(language) :]
    if family == "wiki":
        return f"{language}.wikipedia.org"
    return f"{language}.{family}.org" if family in _FAMILIES else ""


def can_patrol(wiki: str) -> bool:
    """Whether edits are patrolled there, not only new pages."""
    return wiki in _PATROL or wiki.endswith("wikivoyage")


def can_approve(wiki: str) -> bool:
    """Whether FlaggedRevs covers the wiki's articles in general, not only protected ones."""
    return wiki in _REVIEW


def risk_limit(risk: Risk, wiki: str) -> float:
    """The score above which a rule calls an edit risky, there."""
    return risk.max if risk.max is not None else _FPR_15.get(wiki, _FPR_15[""])


# Where Wikimedia's own filter of recent changes puts the language-agnostic model's limit so that fewer than 15 % of
# good edits are above it (wgOresFiltersThresholds); "" = everywhere else.
_FPR_15 = {
    "": 0.85,
    "enwiki": 0.831,
    "idwiki": 0.845,
    "trwiki": 0.608,
    "simplewiki": 0.906,
    "cywiki": 0.111,
    "mlwiki": 0.936,
}
