"""Random Markdown, from pieces that change how the lines around them are parsed."""

from __future__ import annotations

import random

from hypothesis import strategies as st

PIECES = [
    "- ", "* ", "+ ", "1. ", "2) ", "10. ", "0. ", "- [ ] ", "\n- ", "\n1. ", "\n\n- ",
    "-\n", "1.\n", "\n   - ", "\n     - ", "> ", "\n>", "# ", "### ", "\n```", "```py\n", "~~~\n",
    "\n    code",
    "|a|b|\n", "|---|:-:|\n", "| x | y |\n", "\n| 1 | 2 |", "\n| aaa bbb ccc | ddd eee fff ggg |",
    "\n", "\n\n", "  ", "    ", "\t", "  \n", "\\", "\\\n",
    "===\n", "---\n", "\n---", "\n==", "- - -\n", "***\n", "<div>\n", "<!-- ", "-->\n", "&amp;",
    "&#x202e;", "word ",
    "**b** ", "*", "_", "`", "``", "~~s~~", "!", "|", "-", "[a](b) ", "[a]: x\n", "[a]",
    "<http://x.y>", "def f(x): # y\n",
    "日本語 ", "👩‍👩‍👧 ", "long word " * 5, "x" * 50 + " ",
]  # fmt: skip

documents = st.lists(st.sampled_from(PIECES), min_size=1, max_size=40).map("".join)


def cut(document: str, chance: random.Random) -> list[str]:
    """Cut a document into pieces of random length, as a model sends it."""
    pieces, place = [], 0
    while place < len(document):
        length = chance.choice((1, 1, 2, 5, 20))
        pieces.append(document[place : place + length])
        place += length
    return pieces
