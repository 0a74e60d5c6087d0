"""The lines between exact, likely, several and none.

`benchmarks/catalogue_calibrate.py` measures them on catalogues of its own making; its report is in
`docs/catalogue.md`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Thresholds:
    """All shares and scores are 0..1."""

    title_words: float = 0.5
    """Of a title's words by number, the share that a question must have to mean that title."""
    title_share: float = 0.35
    """The same by weight."""
    single_words: float = 0.6
    """The same by number where only one word of the question's own is in the title."""
    slipped_words: float = 0.6
    """The same by number where letters had to be changed."""
    rival: float = 0.6
    """A title that has all that was asked is a rival if it fits this much as well as the best."""
    slip_share: float = 0.34
    """The most letters changed, as a share of the question's own words' letters."""
    body_share: float = 0.6
    """Of a describing question's own words, the share by weight that a record must have."""
    body_likely: float = 0.85
    """The share from which one record alone may be meant."""
    body_lead: float = 0.2
    """How far the next record must be behind for that."""
    body_rival: float = 0.5
    """Records that have this much of what the best one has are listed with it."""
    named_share: float = 0.5
    """A question whose own words are a title's to this share, by weight, names a title."""
    body_words: int = 4
    """A describing question has at least this many words of its own."""
    nearest_score: float = 0.35
    """Titles below this are not even offered as nearest."""


DEFAULT = Thresholds()
