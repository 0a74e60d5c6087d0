"""How far an evaluation is and how long it will take, with lanes that run side by side."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable

from engine.core.types import Progress


class _Lane:
    """What is left to ask one after another, by whom is asked."""

    def __init__(self, keys: Iterable[str], now: float) -> None:
        self._left = Counter(keys)
        self._last = now
        self._times: dict[str, list[float]] = {}

    def note(self, key: str, now: float) -> None:
        self._left[key] -= 1
        self._times.setdefault(key, []).append(now - self._last)
        self._last = now

    def seconds_left(self) -> float | None:
        """None before the first answer. Those not asked yet are taken to be like the others."""
        if not self._left.total():
            return 0.0
        if not self._times:
            return None
        rates = {key: _rate(times) for key, times in self._times.items()}
        usual = sum(rates.values()) / len(rates)
        return sum(number * rates.get(key, usual) for key, number in self._left.items())


def _rate(times: list[float]) -> float:
    """Seconds an answer; the first one, which waits for a model to load, counts only at first."""
    later = times[1:] or times
    return sum(later) / len(later)


class Pace:
    """Counts answers and tells of them. `fraction` is the share of the time, not of the answers."""

    def __init__(
        self,
        lanes: dict[str, list[str]],
        on_progress: Callable[[Progress], None] | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`lanes` holds for each answer to come the key of whom is asked."""
        self._clock = clock
        self._began = clock()
        self._lanes = {name: _Lane(keys, self._began) for name, keys in lanes.items()}
        self._total = sum(len(keys) for keys in lanes.values())
        self._done = 0
        self._tell = on_progress

    def note(self, lane: str, key: str) -> None:
        """An answer of `key` is there, or is not going to be."""
        self._done += 1
        self._lanes[lane].note(key, self._clock())
        if self._tell:
            label = f"{self._done:,} of {self._total:,} answers, {key}"
            self._tell(Progress(label, self.fraction()))

    def fraction(self) -> float | None:
        """The share (0..1) of the time that has passed, as far as it can be known."""
        left = [lane.seconds_left() for lane in self._lanes.values()]
        known = [seconds for seconds in left if seconds is not None]
        if len(known) < len(left) or not known:
            return None
        passed = self._clock() - self._began
        return passed / (passed + max(known)) if passed else None
