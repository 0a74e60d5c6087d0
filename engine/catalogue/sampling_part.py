"""Which rows are taken, and into which split: by hash, so that a row always goes the same way.

A sample is spread over the whole file, grows without dropping what a smaller one had, and does not
change when rows are added elsewhere. The split hangs on the description alone: a description that
stands under several titles lands in one split with all of them.
"""

from __future__ import annotations

from array import array
from hashlib import blake2b

TRAIN, VALID, TEST = "train", "valid", "test"
SPLITS = (TRAIN, VALID, TEST)
_WHOLE = 1 << 64


class Splitter:
    """Puts descriptions into splits; `valid` and `test` are the shares that those get, 0..1."""

    def __init__(self, valid: float, test: float, seed: int) -> None:
        self._valid = int(valid * _WHOLE)
        self._test = int((valid + test) * _WHOLE)
        self._salt = _salt_of(seed)

    def split(self, description: bytes) -> str:
        """The split that this description (its JSON) belongs to."""
        mark = _mark(description, self._salt)
        return VALID if mark < self._valid else TEST if mark < self._test else TRAIN


class Sampler:
    """Keeps the `limit` rows with the smallest marks; the memory is 16 bytes for each."""

    def __init__(self, limit: int | None, seed: int) -> None:
        self._limit = limit
        self._salt = _salt_of(seed)
        self._marks = array("Q")
        self._edge = _WHOLE

    def mark(self, *record: str) -> int:
        """The number that decides for this record, 0 to 2^64 - 1."""
        return _mark("\x00".join(record).encode(errors="replace"), self._salt)

    def may_take(self, mark: int) -> bool:
        """Whether a row of this mark can still be among those kept."""
        return mark < self._edge

    def take(self, mark: int) -> None:
        """Keep this row for now."""
        if self._limit is None:
            return
        self._marks.append(mark)
        if len(self._marks) >= 2 * self._limit + 1000:
            self._narrow(self._limit)

    def finish(self) -> int:
        """The edge: the rows kept whose mark lies below it are the sample."""
        if self._limit is not None and len(self._marks) > self._limit:
            self._narrow(self._limit)
        return self._edge

    def _narrow(self, limit: int) -> None:
        lowest = sorted(self._marks)[: limit + 1]
        self._edge = lowest.pop()
        self._marks = array("Q", lowest)


def _salt_of(seed: int) -> bytes:
    return blake2b(str(seed).encode(), digest_size=16).digest()


def _mark(data: bytes, salt: bytes) -> int:
    return int.from_bytes(blake2b(data, digest_size=8, salt=salt).digest(), "big")
