"""Read several answers at once, for the comparison of engines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from engine.core.types import Event


async def side_by_side(
    streams: Sequence[AsyncGenerator[Event]],
) -> AsyncGenerator[tuple[int, Event]]:
    """Yield the events of every stream as they happen, each with the stream's place.

    Closing the generator closes the streams that are still running.
    """
    queue: asyncio.Queue[tuple[int, Event] | None] = asyncio.Queue()

    async def read(place: int) -> None:
        async with aclosing(streams[place]) as events:
            async for event in events:
                queue.put_nowait((place, event))

    tasks = [asyncio.create_task(read(place)) for place in range(len(streams))]
    ended = asyncio.gather(*tasks, return_exceptions=True)
    ended.add_done_callback(lambda _: queue.put_nowait(None))
    try:
        while (event := await queue.get()) is not None:
            yield event
    finally:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
    for task in tasks:
        task.result()
