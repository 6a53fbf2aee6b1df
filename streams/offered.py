"""What an EventStreams server offers: the list in its OpenAPI description, `/?spec`."""

from __future__ import annotations

from typing import Any

import aiohttp
import orjson

from streams.settings import Settings
from streams.sse import check_source

SECONDS = 20.0
MAX_BYTES = 2 * 2**20


async def offered_streams(settings: Settings) -> list[str]:
    """The streams of `settings.source`, in its order. Raises `InvalidSetting`, and `OSError` if it does not say.

    Source: Wikimedia EventStreams, `paths['/v2/stream/{streams}'].get.parameters[0].schema.items.enum`.
    """
    check_source(settings)
    url = f"{settings.source.rstrip('/')}/?spec"
    timeout = aiohttp.ClientTimeout(total=SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, headers={"User-Agent": settings.user_agent}) as session,
            session.get(url, allow_redirects=False, raise_for_status=True) as response,
        ):
            text = b""
            async for piece in response.content.iter_chunked(65_536):
                text += piece
                if len(text) > MAX_BYTES:
                    raise OSError(f"{url} answers with more than {MAX_BYTES} bytes")
            doc: Any = orjson.loads(text)
            parameters = doc["paths"]["/v2/stream/{streams}"]["get"]["parameters"]
            streams = next(each["schema"]["items"]["enum"] for each in parameters if each["name"] == "streams")
            return [str(stream) for stream in streams]
    except (aiohttp.ClientError, TimeoutError) as exc:
        raise OSError(f"{url} does not answer: {exc!r}") from exc
    except (orjson.JSONDecodeError, KeyError, TypeError, StopIteration) as exc:
        raise OSError(f"{url} does not list its streams: {exc!r}") from exc
