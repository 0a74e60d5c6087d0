"""A process that encodes records for a build: `python -m engine.catalogue.vectors.worker`.

It reads batches of texts as msgpack from stdin, each after its length, and writes their vectors. It
ends with its stdin, so it never outlives the program that started it. Heavy: imports numpy.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import BinaryIO

import msgspec

from engine.catalogue.vectors.encoder import shared_encoder
from engine.catalogue.vectors.files import quantise

LENGTH_BYTES = 4


def main() -> int:
    """Encode batch after batch."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is for the program that started this
    source, result = sys.stdin.buffer, sys.stdout.buffer
    encoder = shared_encoder()
    try:
        while batch := read_frame(source):
            texts = msgspec.msgpack.decode(batch, type=list[str])
            result.write(quantise(encoder.bags(texts)).tobytes())
            result.flush()
    except BrokenPipeError:
        # The build was stopped, which it says itself. Python would complain once more at the exit.
        os._exit(0)
    return 0


def read_frame(source: BinaryIO) -> bytes:
    """Read a batch; it is empty at the end of the stream."""
    return source.read(int.from_bytes(source.read(LENGTH_BYTES), "big"))


def frame(texts: list[str]) -> bytes:
    """Make a batch to send."""
    data = msgspec.msgpack.encode(texts)
    return len(data).to_bytes(LENGTH_BYTES, "big") + data


if __name__ == "__main__":
    sys.exit(main())
