"""Store unit vectors in files, and find the nearest ones through a map of the files into memory.

A vector is stored as 512 signed bytes, and as 512 bits: on which side of the mean of all vectors it
is in each dimension. All bits are compared with those of a question, then the bytes of the nearest.
A vector is found by its place; zeros stand where there is none. Heavy: imports numpy.
"""

from __future__ import annotations

import math
import mmap
import os
import weakref
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from engine.catalogue.vectors.encoder import DIMENSION, Vectors

Places = NDArray[np.intp]
Quantised = NDArray[np.int8]
Bits = NDArray[np.uint64]
Kind = TypeVar("Kind", bound=np.generic)

_SCALE = np.float32(1_000)
"""The numbers of a unit vector of the encoder are smaller than 0.127."""
_PARTS = DIMENSION // 64
_BLOCK = 16_384
"""Vectors whose bits are stored together, each part after the other: a cache holds them."""
_BLOCK_BYTES = _BLOCK * DIMENSION // 8
_MIN_COMPARED = 4_000
_COMPARED = 1 / 500
"""Share of the vectors whose bytes are compared."""
_SAMPLE = 65_536
_LARGE = 2**27
"""Bytes: the bits of two million vectors."""


def quantise(vectors: Vectors) -> Quantised:
    """Round unit vectors to bytes."""
    rounded: Quantised = np.rint(vectors * _SCALE).clip(-127, 127).astype(np.int8)
    return rounded


class VectorFiles:
    """Read vectors. Safe to use from several threads."""

    def __init__(self, folder: Path, name: str, min_compared: int = _MIN_COMPARED) -> None:
        """Map the files `name`. Raise OSError or ValueError if they are missing or cut."""
        self._min_compared = min_compared
        mean, vectors, bits = _paths(folder, name)
        self._mean = np.fromfile(mean, np.float32)
        self._vectors_map, self._bits_map = _Map(vectors), _Map(bits)
        self._vectors = self._vectors_map.array(np.dtype(np.int8), (DIMENSION,))
        self._bits = self._bits_map.array(np.dtype(np.uint64), (_PARTS, _BLOCK))
        if len(self._mean) != DIMENSION or len(self._bits) * _BLOCK < len(self._vectors):
            raise ValueError(bits)

    def __len__(self) -> int:
        return len(self._vectors)

    def vector(self, place: int) -> Vectors:
        """Return the vector at `place`."""
        vector: Vectors = self._vectors[place].astype(np.float32) / _SCALE
        return vector

    def nearest(self, vector: Vectors, limit: int) -> list[tuple[int, float]]:
        """Return the places and cosines of the vectors nearest to `vector`, best first."""
        places = self._scan(vector, max(self._min_compared, limit, int(len(self) * _COMPARED)))
        places, cosines = self._compare(vector, places)
        best = np.argsort(-cosines, kind="stable")[:limit]
        return list(zip(places[best].tolist(), cosines[best].tolist(), strict=True))

    def cosines(self, vector: Vectors, places: Sequence[int]) -> dict[int, float]:
        """Return the cosines of `vector` and the vectors at `places`, where there are any."""
        count = len(self._vectors)
        wanted = np.array([place for place in places if 0 <= place < count], np.intp)
        wanted, cosines = self._compare(vector, wanted)
        return dict(zip(wanted.tolist(), cosines.tolist(), strict=True))

    def _read(self, places: Places) -> Quantised:
        handle = self._vectors_map.handle
        if handle is None:
            return self._vectors[places]
        starts = (places * DIMENSION).tolist()
        data = b"".join(os.pread(handle, DIMENSION, start) for start in starts)
        return np.frombuffer(data, np.int8).reshape(-1, DIMENSION)

    # The question is not centred: its mean is not that of the records, which are bags of words.
    def _compare(self, vector: Vectors, places: Places) -> tuple[Places, Vectors]:
        # The length of a stored vector is 1: so that of its distance from the mean is known.
        wanted = np.stack((vector, self._mean)).T / _SCALE
        products = self._read(places).astype(np.float32) @ wanted
        there = products.any(axis=1)
        by_vector, by_mean = products[there].T
        lengths = np.sqrt(np.maximum(1 - 2 * by_mean + self._mean @ self._mean, 1e-6))
        return places[there], (by_vector - self._mean @ vector) / lengths

    def _scan(self, vector: Vectors, limit: int) -> Places:
        """Return the places of `limit` vectors whose bits differ least."""
        count = len(self._vectors)
        if count <= limit:
            return np.arange(count)
        wanted = _pack(vector[None] > 0).T
        distances = np.empty((len(self._bits), _BLOCK), np.uint16)
        differing = np.empty((_PARTS, _BLOCK), np.uint64)
        counted = np.empty((_PARTS, _BLOCK), np.uint8)
        for number, (block, bits) in enumerate(zip(distances, self._bits, strict=True)):
            np.bitwise_xor(bits, wanted, out=differing)
            np.bitwise_count(differing, out=counted)
            np.add.reduce(counted, axis=0, dtype=np.uint16, out=block)
            self._bits_map.release(number * _BLOCK_BYTES, _BLOCK_BYTES)
        return _smallest(distances.ravel()[:count], limit)


def _smallest(distances: NDArray[np.uint16], limit: int) -> Places:
    """Return the places of the `limit` smallest distances: a sample tells which are small."""
    sample = distances[:: -(-len(distances) // _SAMPLE)]
    counts = np.bincount(sample).cumsum()
    most = int(np.searchsorted(counts, limit * len(sample) / len(distances)))
    while len(places := np.flatnonzero(distances <= most)) < limit:
        most += 2
    return places[np.argsort(distances[places], kind="stable")[:limit]]


class VectorWriter:
    """Write the files that VectorFiles reads, new ones or at more places of existing ones."""

    def __init__(self, folder: Path, name: str, *, centred: bool = True) -> None:
        """Open the files `name`, or create them; `centred` vectors are compared by their mean."""
        self._centred = centred
        self._mean_file, vectors, bits = _paths(folder, name)
        self._mean: Vectors | None = None
        if self._mean_file.exists():
            self._mean = np.fromfile(self._mean_file, np.float32)
        self._vectors, self._bits = _open(vectors), _open(bits)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._vectors.close()
        self._bits.close()

    def write(self, place: int, vectors: Quantised) -> None:
        """Write vectors at `place` and the places after it."""
        self._vectors.seek(place * DIMENSION)
        self._vectors.write(vectors.tobytes())
        if self._mean is not None:
            self._write_bits(self._mean, place, place + len(vectors))

    def flush(self) -> None:
        """Hand over to the system what was written."""
        self._vectors.flush()
        self._bits.flush()

    def delete(self, places: Sequence[int]) -> None:
        """Delete the vectors at `places`."""
        end = self._vectors.seek(0, os.SEEK_END) // DIMENSION
        for place in places:
            if place < end:
                self._vectors.seek(place * DIMENSION)
                self._vectors.write(bytes(DIMENSION))

    def finish(self) -> None:
        """Write the bits of new files, once all vectors are there, by their mean."""
        if self._mean is None:
            self._mean = self._average() if self._centred else np.zeros(DIMENSION, np.float32)
            self._mean_file.write_bytes(self._mean.tobytes())
            self._write_bits(self._mean, 0, self._vectors.seek(0, os.SEEK_END) // DIMENSION)
        self.flush()

    def _average(self) -> Vectors:
        total, count = np.zeros(DIMENSION, np.float64), 0
        self._vectors.seek(0)
        while data := self._vectors.read(_BLOCK * DIMENSION):
            block = np.frombuffer(data, np.int8).reshape(-1, DIMENSION)
            total += block.sum(axis=0, dtype=np.int64)
            count += int(np.count_nonzero(block.any(axis=1)))
        return (total / (_SCALE * max(count, 1))).astype(np.float32)

    def _write_bits(self, mean: Vectors, first: int, end: int) -> None:
        for block in range(first // _BLOCK, -(-end // _BLOCK)):
            start = block * _BLOCK
            self._write_block(mean, block, max(first, start), min(end, start + _BLOCK))

    def _write_block(self, mean: Vectors, block: int, first: int, end: int) -> None:
        self._bits.seek(block * _BLOCK_BYTES)
        bits = bytearray(self._bits.read(_BLOCK_BYTES).ljust(_BLOCK_BYTES, b"\0"))
        self._vectors.seek(first * DIMENSION)
        data = self._vectors.read((end - first) * DIMENSION)
        vectors = np.frombuffer(data, np.int8).reshape(-1, DIMENSION)
        # A whole number is above the mean if it is above the whole part of the mean.
        is_above = vectors > np.floor(mean * _SCALE).astype(np.int8)
        parts = np.frombuffer(bits, np.uint64).reshape(_PARTS, _BLOCK)
        parts[:, first - block * _BLOCK : end - block * _BLOCK] = _pack(is_above).T
        self._bits.seek(block * _BLOCK_BYTES)
        self._bits.write(bits)


def _paths(folder: Path, name: str) -> tuple[Path, Path, Path]:
    return folder / f"{name}.mean", folder / f"{name}.vectors", folder / f"{name}.bits"


def _open(file: Path) -> BinaryIO:
    file.touch()
    return file.open("r+b")


def _pack(signs: NDArray[np.bool_]) -> Bits:
    return np.packbits(signs, axis=1).view(np.uint64)


class _Map:
    """A file in memory. Of a large one, what was read is released, and single rows are to be read.

    Otherwise the memory of a process would grow to the size of the file.
    """

    def __init__(self, path: Path) -> None:
        size = path.stat().st_size
        with path.open("rb") as stream:  # an empty file cannot be mapped
            self._map = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
        self.handle: int | None = None
        if size > _LARGE and hasattr(mmap, "MADV_DONTNEED"):
            self.handle = os.open(path, os.O_RDONLY)
            weakref.finalize(self, os.close, self.handle)

    def array(self, kind: np.dtype[Kind], shape: tuple[int, ...]) -> NDArray[Kind]:
        """Return the whole elements of the file."""
        count = len(self._map) // (kind.itemsize * math.prod(shape))
        flat = np.frombuffer(self._map, kind, count * math.prod(shape))
        return flat.reshape(count, *shape)

    def release(self, start: int, length: int) -> None:
        """Release a part of a large file."""
        if self.handle is not None and isinstance(self._map, mmap.mmap):
            self._map.madvise(mmap.MADV_DONTNEED, start, length)
