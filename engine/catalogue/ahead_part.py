"""Reads ahead in a thread: unpacking then costs the reader nothing while a second core is free."""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Iterator

_DEPTH = 4
"""Blocks waiting at most: the memory is bounded."""
_INTERVAL = 0.0005
"""Seconds until a thread that computes lets go. Unpacking asks for the interpreter several times a
block, and would wait longer each time than it works."""
_PATIENCE = 0.5
"""Seconds."""


class _End:
    """The last thing in the queue, with what broke the reading, if anything did."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


def read_ahead(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The same blocks in the same order; an error of theirs is raised here in its place."""
    waiting: queue.Queue[bytes | _End] = queue.Queue(_DEPTH)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(min(interval, _INTERVAL))
    stopped = threading.Event()
    thread = threading.Thread(
        target=_fill, args=(blocks, waiting, stopped), name="read-ahead", daemon=True
    )
    thread.start()
    try:
        while not isinstance(block := waiting.get(), _End):
            yield block
        if block.error:
            raise block.error
    finally:
        stopped.set()
        sys.setswitchinterval(interval)
        # Not for ever: it may be waiting for a pipe into which nobody writes.
        thread.join(_PATIENCE)


def _fill(
    blocks: Iterator[bytes], waiting: queue.Queue[bytes | _End], stopped: threading.Event
) -> None:
    end = _End()
    try:
        for block in blocks:
            if not _put(block, waiting, stopped):
                return
    except BaseException as error:  # noqa: BLE001 - raised again by the reader
        end = _End(error)
    _put(end, waiting, stopped)


def _put(item: bytes | _End, waiting: queue.Queue[bytes | _End], stopped: threading.Event) -> bool:
    while not stopped.is_set():
        try:
            waiting.put(item, timeout=0.1)
        except queue.Full:
            continue
        return True
    return False
