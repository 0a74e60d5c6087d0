"""Compare a question with the sentences of a few records. Heavy: imports numpy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.catalogue.language.passages import split_sentences
from engine.catalogue.records import BODY_LIMIT
from engine.catalogue.vectors.encoder import shared_encoder
from engine.core.types import Product

_COMPARED, _CHARACTERS = 24, 300
"""Sentences of a record, and characters of a sentence."""
_ENCODED = 2
"""Sentences of a record that are encoded with the order of their words."""


def likeness(question: str, products: Sequence[Product]) -> list[float]:
    """Return the cosine of the question and the most like sentence, or title, of each product.

    Bags of words, which cost little, choose the sentences to encode.
    """
    encoder = shared_encoder()
    asked = encoder.encode([question])[0]
    sentences = [_sentences(product) for product in products]
    bags = encoder.bags([text for some in sentences for text in some]) @ asked
    chosen, owners, start = list[str](), list[int](), 0
    for owner, some in enumerate(sentences):
        alike = bags[start : start + len(some)]
        start += len(some)
        best = np.argsort(-alike, kind="stable")[:_ENCODED]
        chosen += [some[place] for place in best]
        owners += [owner] * len(best)
    found = np.zeros(len(products), np.float32)
    np.maximum.at(found, owners, encoder.encode(chosen) @ asked)
    return [float(one) for one in found]


def _sentences(product: Product) -> list[str]:
    texts = split_sentences(product.description[:BODY_LIMIT])[:_COMPARED]
    return [product.title, *(text[:_CHARACTERS] for text in texts)]
