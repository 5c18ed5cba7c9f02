"""Reads the bodies of answers up to a limit, because a cluster may be broken or hostile."""

from __future__ import annotations

import json
import zlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import aiohttp

MAX_JSON = 4 * 1024 * 1024
"""The most bytes of an answer about one job. Ray's longest message about a job has 20,000 characters."""

MAX_LIST = 64 * 1024 * 1024
"""The most bytes of a list that somebody asked for: enough for about 100,000 jobs."""

_CHUNK = 256 * 1024

_ENCODINGS = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
"""How zlib reads what a proxy may have compressed."""


class BodyError(Exception):
    """A body that can't be used, as a clause about the server."""


async def chunks_of(response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
    """Yield a body, decompressed, in chunks of at most 256 KiB.

    The session must leave compressed bodies as they are: aiohttp would unpack all of it at once, and
    a few kilobytes may unpack to gigabytes.

    :raises BodyError: if it is compressed in a way that was not asked for, or broken.
    """
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding in ("identity", ""):
        async for chunk in response.content.iter_any():
            yield chunk
        return
    if encoding not in _ENCODINGS:
        raise BodyError(f"it compressed its answer as {encoding[:20]!r}, which was not asked for")
    unpacking = zlib.decompressobj(_ENCODINGS[encoding])
    async for chunk in response.content.iter_any():
        while chunk:
            try:
                unpacked = unpacking.decompress(chunk, _CHUNK)
            except zlib.error as exc:
                raise BodyError("its answer is compressed and broken") from exc
            if unpacked:
                yield unpacked
            chunk = unpacking.unconsumed_tail


async def read_json(response: aiohttp.ClientResponse, *, most: int = MAX_JSON) -> Any:
    """Return a body's JSON.

    :param most: The most bytes that it may have.
    :raises BodyError: if it is too long, not JSON, or nested too deeply.
    """
    body = await read(response, most=most)
    try:
        return json.loads(body)
    except RecursionError as exc:
        raise BodyError("its answer is nested too deeply") from exc
    except ValueError as exc:
        raise BodyError("its answer is not JSON") from exc


async def read(response: aiohttp.ClientResponse, *, most: int) -> bytearray:
    """Return a body.

    :param most: The most bytes that it may have.
    :raises BodyError: if it is longer.
    """
    body = bytearray()
    async with aclosing(chunks_of(response)) as chunks:
        async for chunk in chunks:
            body += chunk
            if len(body) > most:
                raise BodyError(f"its answer is larger than {most // 1024**2} MiB")
    return body


async def read_beginning(response: aiohttp.ClientResponse, *, most: int) -> str:
    """Return the beginning of a body as text, whatever is wrong with it."""
    body = bytearray()
    try:
        async with aclosing(chunks_of(response)) as chunks:
            async for chunk in chunks:
                body += chunk
                if len(body) >= most:
                    break
    except BodyError:
        pass
    return body[:most].decode("utf-8", "replace")
