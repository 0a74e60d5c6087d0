"""Encode the records and words of a catalogue into the vectors of its index.

Large catalogues are encoded by several processes: Python's own part of the work holds its lock.
Heavy: imports numpy.
"""

from __future__ import annotations

import os
import queue
import subprocess
import sys
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from engine.catalogue import records
from engine.catalogue.vectors import worker
from engine.catalogue.vectors.encoder import DIMENSION, shared_encoder
from engine.catalogue.vectors.files import Quantised, VectorWriter, quantise
from engine.core.errors import CatalogueError
from engine.core.i18n import tr
from engine.core.types import Product

_MODULE = "engine.catalogue.vectors.worker"
_MANY = 8_000
"""Records from which starting processes is worth their two seconds."""
_MAX_PROCESSES = 4
_AT_ONCE = 500
_WORDS_AT_ONCE = 2_000
_MEANT_WORDS = 50_000
"""Words with vectors, so that a word of a question finds its neighbours among them.

Those that the encoder knows come first: in a large catalogue, names and codes are more frequent.
"""


class MeaningWriter:
    """Write the vectors of records while the other parts of an index are built."""

    def __init__(self, folder: Path) -> None:
        """Open the vectors in the folder of an index, or begin them."""
        self._folder = folder / records.MEANING
        self._folder.mkdir(exist_ok=True)
        self._stack = ExitStack()
        self._files = VectorWriter(self._folder, records.RECORD_VECTORS)
        self._encoders = self._stack.enter_context(_Encoders())
        self._pending: deque[tuple[int, Future[Quantised]]] = deque()

    def __enter__(self) -> Self:
        self._stack.enter_context(self._files)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._stack.close()

    def add(self, first: int, products: Sequence[Product]) -> None:
        """Encode products whose rows start at `first`, in the background."""
        for start in range(0, len(products), _AT_ONCE):
            texts = [_text(product) for product in products[start : start + _AT_ONCE]]
            self._pending.append((first + start, self._encoders.submit(texts)))
            self._write_done(self._encoders.most_pending)

    def delete(self, rows: Sequence[int]) -> None:
        """Delete the vectors of rows."""
        self._files.delete(rows)

    def flush(self) -> None:
        """Wait until all that was added is written."""
        self._write_done(0)
        self._files.flush()

    def finish(self, words: Sequence[str]) -> None:
        """Complete new vectors, with those of the catalogue's `words`, the frequent first."""
        self.flush()
        self._files.finish()
        encoder = shared_encoder()
        words = sorted(words, key=lambda word: not encoder.knows(word))[:_MEANT_WORDS]
        (self._folder / records.WORD_LIST).write_text("\n".join(words), encoding="utf-8")
        with VectorWriter(self._folder, records.WORD_VECTORS, centred=False) as files:
            for start in range(0, len(words), _WORDS_AT_ONCE):
                vectors = encoder.encode(words[start : start + _WORDS_AT_ONCE])
                files.write(start, quantise(vectors))
            files.finish()

    def _write_done(self, most: int) -> None:
        """Write what is encoded; wait while more than `most` batches are pending."""
        while self._pending and (len(self._pending) > most or self._pending[0][1].done()):
            first, encoded = self._pending.popleft()
            self._files.write(first, encoded.result())


def _text(product: Product) -> str:
    return f"{product.title} {product.description[: records.BODY_LIMIT]}"


class _Encoders:
    """Encode batches in a thread, and from many records on in processes."""

    def __init__(self) -> None:
        self._count = min(_available_cores(), _MAX_PROCESSES)
        self._threads = ThreadPoolExecutor(1)
        self._processes: queue.SimpleQueue[subprocess.Popen[bytes]] | None = None
        self._stack = ExitStack()
        self._records = 0
        self.most_pending = 2

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._threads.shutdown(cancel_futures=True)
        self._stack.close()

    def submit(self, texts: list[str]) -> Future[Quantised]:
        """Encode a batch in the background."""
        self._records += len(texts)
        if self._processes is None and self._count > 1 and self._records > _MANY:
            self._start()
        if self._processes is None:
            return self._threads.submit(_encode, texts)
        return self._threads.submit(_encode_in, self._processes, texts)

    def _start(self) -> None:
        self._threads.shutdown()
        self._threads = ThreadPoolExecutor(self._count)
        self._processes = queue.SimpleQueue()
        self.most_pending = 2 * self._count
        for _ in range(self._count):
            self._processes.put(self._stack.enter_context(_start_process()))


def _available_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _start_process() -> subprocess.Popen[bytes]:
    root = str(Path(__file__).resolve().parents[3])
    search = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    return subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-P", "-m", _MODULE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": search},
    )


def _encode(texts: list[str]) -> Quantised:
    return quantise(shared_encoder().bags(texts))


def _encode_in(
    processes: queue.SimpleQueue[subprocess.Popen[bytes]], texts: list[str]
) -> Quantised:
    """Encode a batch in the next idle process."""
    process = processes.get()
    try:
        return _exchange(process, texts)
    finally:
        processes.put(process)


def _exchange(process: subprocess.Popen[bytes], texts: list[str]) -> Quantised:
    if process.stdin is None or process.stdout is None:
        raise AssertionError("the process was started with pipes")
    expected = len(texts) * DIMENSION
    try:
        process.stdin.write(worker.frame(texts))
        process.stdin.flush()
        data = process.stdout.read(expected)
    except OSError:
        data = b""
    if len(data) != expected:
        raise CatalogueError(
            tr("A process that encodes records stopped."),
            tr("Close other programs and run the command again, or add --no-meaning."),
        )
    return np.frombuffer(data, np.int8).reshape(-1, DIMENSION)
