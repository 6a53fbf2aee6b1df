"""Hashes as the field spells them: Wikimedia's base-36 SHA-1, Kafka's murmur2, and one-way keys for people."""

from __future__ import annotations

import hashlib

BASE36 = "0123456789abcdefghijklmnopqrstuvwxyz"
PAIRS = [high + low for high in BASE36 for low in BASE36]


def base36(number: int) -> str:
    """A SHA-1 as MediaWiki writes it: 31 base-36 digits, left padded. Raises `ValueError` below 0."""
    if number < 0:
        raise ValueError(f"no digest: {number}")
    pairs = []
    while number:
        number, pair = divmod(number, 1296)
        pairs.append(PAIRS[pair])
    return "".join(reversed(pairs)).lstrip("0").rjust(31, "0")


def sha1_base36(text: str) -> str:
    """The `content_sha1` of a page_change event for this text."""
    return base36(int(hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest(), 16))


def sha1_base36_from_hex(digest: str) -> str:
    """The action API writes SHA-1 in hex, 40 digits; events in base-36. Raises `ValueError`."""
    return base36(int(digest, 16))


def murmur2(data: bytes) -> int:
    """Kafka's default partitioner hash, as an unsigned 31-bit number.

    Source: org.apache.kafka.common.utils.Utils.murmur2, `toPositive`.
    """
    length = len(data)
    h = (0x9747B28C ^ length) & 0xFFFFFFFF
    for at in range(0, length - length % 4, 4):
        k = int.from_bytes(data[at : at + 4], "little")
        k = (k * 0x5BD1E995) & 0xFFFFFFFF
        k ^= k >> 24
        k = (k * 0x5BD1E995) & 0xFFFFFFFF
        h = ((h * 0x5BD1E995) & 0xFFFFFFFF) ^ k
    rest = data[length - length % 4 :]
    if rest:
        h ^= int.from_bytes(rest, "little")
        h = (h * 0x5BD1E995) & 0xFFFFFFFF
    h ^= h >> 13
    h = (h * 0x5BD1E995) & 0xFFFFFFFF
    h ^= h >> 15
    return h & 0x7FFFFFFF


def page_partition(wiki: str, page_id: int, partitions: int) -> int:
    """The partition of a page on every per-page topic."""
    return murmur2(f"{wiki}:{page_id}".encode()) % partitions


def ref_number(ref: str) -> int:
    """Stands for what a page may be asked for by: a signed number of 64 bits."""
    return int.from_bytes(hashlib.blake2b(ref.encode(), digest_size=8).digest(), "big", signed=True)


def user_key(wiki: str, user_text: str) -> str:
    """Stands for a user where we only need to know whether two edits are by the same one: no name is kept."""
    return hashlib.blake2b(f"{wiki}\0{user_text}".encode(), digest_size=8).hexdigest()
