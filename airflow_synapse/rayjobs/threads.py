"""Keeps blocking work off the event loop, without losing what it has opened."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager
from typing import TypeVar

T = TypeVar("T")


@asynccontextmanager
async def entered_in_thread(make: Callable[[], AbstractContextManager[T]]) -> AsyncIterator[T]:
    """Enter and leave a context manager in threads.

    A cancellation does not end a thread. If one comes meanwhile, the thread itself leaves what it has entered.
    """
    stack, is_over = ExitStack(), threading.Event()

    def enter() -> T:
        entered = stack.enter_context(make())
        if is_over.is_set():
            stack.close()
        return entered

    try:
        yield await asyncio.to_thread(enter)
    finally:
        is_over.set()
        await asyncio.shield(asyncio.to_thread(stack.close))  # else it might not even begin
