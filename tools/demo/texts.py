"""What the demo model is shown: questions in many wordings, and texts that are worth copying.

Light and pure: everything is drawn from one `random.Random`, so that a seed gives the same rows.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from engine.core.types import Product
from engine.prompts import QUESTION_FORMS

# Beside the wordings of `balcao prepare`: a model that has met many reads the title out of others.
_MORE_FORMS = (
    "What is {title} about?",
    "{title}?",
    "Have you got {title}",
    "Please describe {title}.",
    "Give me the description of {title}",
    "What does the catalogue say about “{title}”?",
    "Is there a {title}?",
    "can you describe {title} for me",
    "I want {title}",
    "show me {title}",
    "Tell me more about '{title}'",
    "What's {title}?",
    "what do you know of {title}?",
    "Read me the entry for {title}.",
    "O que diz o catálogo sobre {title}?",
    "Quero {title}",
    "Fale de {title}",
    "Tem {title}?",
    "Preciso de {title}",
    "Conte-me sobre “{title}”",
)
_FIRST = 12
FORMS = (*QUESTION_FORMS[:_FIRST], *_MORE_FORMS)
"""Wordings that were added since the model in data/ was made would make another model of it."""
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_SIGNS = "àáâãçèéêíóôõúñüß«»“”’–—[]`\\*#&()'\"/%$+"
_EXCHANGED = 0.5
"""The largest share of words that are exchanged in made-up descriptions."""
_LOWER, _UPPER = 0.3, 0.05
"""Shares of the questions with the title in lower and in upper case."""


class Texts:
    """Draws questions, products and made-up descriptions, all from `products`."""

    def __init__(self, products: Sequence[Product], draw: random.Random) -> None:
        self._products = products
        self._draw = draw
        self._words = [word for one in products for word in one.description.split()]

    def product(self) -> Product:
        """One of the products."""
        return self._draw.choice(self._products)

    def question(self, title: str) -> str:
        """A question for `title`, in one of the wordings."""
        chance = self._draw.random()
        if chance < _LOWER:
            title = title.lower()
        elif chance < _LOWER + _UPPER:
            title = title.upper()
        return self._draw.choice(FORMS).format(title=title)

    def title(self) -> str:
        """A product's title, or words that are none's."""
        if self._draw.random() < 0.5:  # noqa: PLR2004 - half and half
            return self.product().title
        return " ".join(
            self._word() if self._draw.random() < 0.5 else self._draw.choice(self._words)  # noqa: PLR2004 - as above
            for _ in range(self._draw.randint(1, 6))
        )

    def shuffled(self, words: int) -> str:
        """Words of the descriptions and made-up ones, in no order."""
        return " ".join(
            self._draw.choice(self._words) if self._draw.random() < 0.7 else self._word()  # noqa: PLR2004 - a share
            for _ in range(words)
        )

    def exchanged(self, words: int) -> str:
        """A stretch of descriptions, some words exchanged: none that could be known by heart."""
        draw = self._draw
        share = draw.random() * _EXCHANGED
        found: list[str] = []
        while len(found) < words:
            found += self.product().description.split()
        start = draw.randint(0, len(found) - words)
        return " ".join(
            draw.choice(self._words) if draw.random() < share else word
            for word in found[start : start + words]
        )

    def _word(self) -> str:
        """A word that nobody has read before, or a number."""
        draw = self._draw
        word = "".join(draw.choice(_LETTERS) for _ in range(draw.randint(2, 9)))
        kind = draw.randrange(10)
        if kind < 3:  # noqa: PLR2004 - of ten
            word = word.capitalize()
        elif kind == 3:  # noqa: PLR2004 - as above
            word = str(draw.randint(1, 2100))
        if draw.randrange(7) == 0:
            word += draw.choice(",.;:!?")
        return word + draw.choice(_SIGNS) if draw.randrange(20) == 0 else word
