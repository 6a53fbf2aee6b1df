"""Where content is asked for: the addresses of a wiki at one source, and what may be connected to.

Nothing free comes from an event into a URL: a domain is filled in only if it is that of a Wikimedia project, and no
address but a public one is connected to, unless the operator's own setting names it.
"""

from __future__ import annotations

import re
import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any
from urllib.parse import urlsplit

from processors.batcher import Site
from streams.settings import InvalidSetting

_FAMILIES = (
    "wikipedia|wiktionary|wikibooks|wikinews|wikiquote|wikisource|wikiversity|wikivoyage|wikimedia|mediawiki"
    "|wikidata|wikifunctions"
)
_DOMAIN = re.compile(rf"(?:[a-z0-9](?:[a-z0-9-]{{0,61}}[a-z0-9])?(?:\.m)?\.(?:{_FAMILIES})|wikisource)\.org", re.ASCII)
_WIKI = re.compile(r"[a-z0-9_]{1,64}", re.ASCII)
_NAT64 = IPv6Network("64:ff9b::/96")

Address = IPv4Address | IPv6Address


class UnknownSite(ValueError):
    """The event names no wiki that may be asked. Nothing was connected to."""


class Source:
    """One source of content. template: of a wiki's action API, with `{domain}` or `{wiki}`; setting: its variable.

    Raises `InvalidSetting` if the template cannot be used, or names the live site and there is no contact.
    """

    def __init__(self, setting: str, template: str, *, contact: str) -> None:
        self._template = template
        self._named_host = _named_host(setting, template)
        if not contact and (self._named_host is None or _DOMAIN.fullmatch(self._named_host)):
            raise InvalidSetting(
                f"{setting}={template!r} is the live site, which refuses requests from nobody: "
                "set SLUICE_CONTACT to a URL or mail address of yours"
            )

    def url(self, site: Site) -> str:
        """The action API of a wiki. Raises `UnknownSite`."""
        wiki, domain = site
        if "{domain}" in self._template and not _DOMAIN.fullmatch(domain):
            raise UnknownSite(f"{domain!r:.200} is no domain of a Wikimedia project")
        if "{wiki}" in self._template and not _WIKI.fullmatch(wiki):
            raise UnknownSite(f"{wiki!r:.200} is no name of a wiki")
        return self._template.replace("{domain}", domain).replace("{wiki}", wiki)

    def page_url(self, site: Site, rev_id: int) -> str:
        """The HTML of a revision, from the REST API that is beside the action API. Raises `UnknownSite`."""
        return f"{self.url(site).removesuffix('api.php')}rest.php/v1/revision/{rev_id}/html"

    def socket(self, info: tuple[Any, ...]) -> socket.socket:
        """A socket for an address that was looked up. Raises `OSError` if it may not be connected to."""
        family, kind, protocol, _, address = info
        if not may_reach(ip_address(str(address[0]).partition("%")[0]), self._named_host):
            raise OSError(f"{address[0]} is not a public address")
        return socket.socket(family=family, type=kind, proto=protocol)


def may_reach(address: Address, named_host: str | None) -> bool:
    """Whether a connection to `address` is allowed.

    named_host: the host in the operator's own setting, None if events fill it in. Loopback and link-local addresses
    must be named as such there; other private ones may be what a named host stands for.
    """
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if inner is None and address in _NAT64:
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return may_reach(inner, named_host)
    if address.is_global and not address.is_multicast:
        return True
    if named_host is None:
        return False
    try:
        return address == ip_address(named_host)
    except ValueError:
        pass
    if named_host == "localhost":
        return address.is_loopback
    return address.is_private and not (address.is_loopback or address.is_link_local or address.is_unspecified)


def _named_host(setting: str, template: str) -> str | None:
    """The host if the template itself names it, None if events fill it in. Raises `InvalidSetting`."""
    parts = urlsplit(template)
    rest = template.replace("{domain}", "").replace("{wiki}", "")
    if (
        parts.scheme not in {"http", "https"}
        or not parts.netloc
        or not parts.path.endswith("/api.php")
        or "{" in rest
        or "}" in rest
    ):
        raise InvalidSetting(
            f"{setting}={template!r}: a URL of an api.php with {{domain}} or {{wiki}} where they belong"
        )
    if "{" not in parts.netloc:
        return parts.hostname
    if parts.scheme != "https":
        raise InvalidSetting(f"{setting}={template!r}: https, as the host comes from the event")
    return None
