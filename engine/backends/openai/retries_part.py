"""How long to wait before a server is asked again, and when to leave it."""

from __future__ import annotations

import random

from engine.backends.openai.failures import Failure

FIRST_WAIT, LONGEST_WAIT = 0.5, 8.0
"""Seconds between tries where the server names no time: doubled each time, as openai's own."""


def wait_before_retry(failure: Failure, tried: int, retries: int, patience: float) -> float | None:
    """Seconds until the next try; None: leave it.

    `tried` counts the tries that `retries` limits. A server that names a time is asked again for
    as long as `patience` (seconds left) allows, so that many questions at once are paced by it.
    """
    if not failure.retryable or not retries:
        return None
    if failure.retry_after:
        return failure.retry_after if failure.retry_after <= patience else None
    if tried >= retries:
        return None
    jitter = random.uniform(0.75, 1.0)  # noqa: S311 - spreads the load, guards nothing
    return min(FIRST_WAIT * 2.0**tried, LONGEST_WAIT) * jitter
