"""Reads the bodies of answers up to a limit, because a cluster may be broken or hostile."""

from __future__ import annotations

import asyncio
import json
import re
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import aiohttp

MAX_JSON = 4 * 1024 * 1024
"""The most bytes of an answer about one job. Ray's longest message about a job has 20,000 characters."""

MAX_LIST = 64 * 1024 * 1024
"""The most bytes of a list that somebody asked for: enough for about 100,000 jobs."""

_MAX_PARTS = 100_000
"""The most values that JSON may have to be parsed at once: that blocks the event loop for some 20 ms. Ray's
longest answer about a job has some thousand, and its list of jobs is parsed row by row."""

_MAX_ROW = 1024 * 1024
"""The most characters of a row of a list. A job's runtime_env and metadata have at most 128 KiB."""

_USUAL_ROW = 4096

_CHUNK = 256 * 1024

_ENCODINGS = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
"""How zlib reads what a proxy may have compressed."""


@dataclass(frozen=True)
class SlowestBody:
    """What is too slow. A server that sends a byte now and then would keep its reader for ever.

    :param seconds: How long to wait for bytes until their number is looked at.
    :param bytes_per_second: How many must have come.
    """

    seconds: float = 30.0
    bytes_per_second: float = 1024.0


SLOWEST_BODY = SlowestBody()


class BodyError(Exception):
    """A body that can't be used, as a clause about the server."""


async def chunks_of(response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
    """Yield a body, decompressed, in chunks of at most 256 KiB.

    The session must leave compressed bodies as they are: aiohttp would unpack all of it at once, and
    a few kilobytes may unpack to gigabytes.

    :raises BodyError: if it is compressed in a way that was not asked for, broken, or too slow.
    """
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding in ("identity", ""):
        async for chunk in _arriving(response):
            yield chunk
        return
    if encoding not in _ENCODINGS:
        raise BodyError(f"it compressed its answer as {encoding[:20]!r}, which was not asked for")
    unpacking = zlib.decompressobj(_ENCODINGS[encoding])
    async for chunk in _arriving(response):
        while chunk:
            try:
                unpacked = unpacking.decompress(chunk, _CHUNK)
            except zlib.error as exc:
                raise BodyError("its answer is compressed and broken") from exc
            if unpacked:
                yield unpacked
            chunk = unpacking.unconsumed_tail


async def _arriving(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Yield a body as it arrives. Only the time spent waiting for it counts, not what its reader takes."""
    loop = asyncio.get_running_loop()
    waited, size, began = 0.0, 0, loop.time()
    async for chunk in response.content.iter_any():
        waited += loop.time() - began
        size += len(chunk)
        if waited >= SLOWEST_BODY.seconds:
            if size < waited * SLOWEST_BODY.bytes_per_second:
                raise BodyError(f"it sent {size} bytes of its answer in {waited:.0f} s")
            waited, size = 0.0, 0
        yield chunk
        began = loop.time()


async def read_json(response: aiohttp.ClientResponse, *, most: int = MAX_JSON) -> Any:
    """Return a body's JSON.

    :param most: The most bytes that it may have.
    :raises BodyError: if it is too long, not JSON, nested too deeply, or has too many values.
    """
    body = await read(response, most=most)
    if _parts(body) > _MAX_PARTS:
        raise BodyError("its answer has too many parts")
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


def _parts(body: bytearray) -> int:
    return body.count(b",") + body.count(b"[") + body.count(b"{")


_decoder = json.JSONDecoder()
_between_objects = re.compile(r"[\s,]*")


def each_object(text: str) -> Iterator[dict[str, Any]]:
    """Yield the objects of a JSON array one by one, so that a long array need not be parsed at once.

    :raises ValueError: if the text is not JSON or not an array, or if an item is too long.
    :raises TypeError: if an item is not an object.
    """
    start = text.find("[")
    if start < 0 or text[:start].strip():
        raise ValueError("a list of jobs that is not a list")
    position = _end_of_gap(text, start + 1)
    while text[position : position + 1] != "]":
        row, length = _row(text, position)
        if not isinstance(row, dict):
            raise TypeError(f"a list of jobs with {row!r:.50} in it")
        yield row
        position = _end_of_gap(text, position + length)


def _row(text: str, position: int) -> tuple[Any, int]:
    """Return the value that begins here, and its length. Not even a hostile one takes long to parse."""
    size = _USUAL_ROW
    while True:
        part = text[position : position + size]
        if size > _USUAL_ROW and sum(map(part.count, ",[{")) > _MAX_PARTS:
            raise ValueError("a list of jobs with a row of too many parts")
        try:
            return _decoder.raw_decode(part)
        except ValueError:
            if size >= _MAX_ROW or position + size >= len(text):
                raise
            size *= 4


def _end_of_gap(text: str, position: int) -> int:
    gap = _between_objects.match(text, position)
    return gap.end() if gap else position
