"""Serves texts of revisions as a wiki's action API, at once: `python tests/texts_server.py FILE`.

FILE: JSON, [[revision, text], ...]. A process of its own, so that what is measured is not its work. It prints what
`SLUICE_CONTENT` is to be.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import orjson
from api_server import ApiServer


async def main(texts: list[tuple[int, str]]) -> None:
    async with ApiServer() as wiki:
        for rev_id, text in texts:
            wiki.put(rev_id, text)
        print(wiki.template, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(orjson.loads(Path(sys.argv[1]).read_bytes())))
