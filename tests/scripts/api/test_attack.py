"""A few of the attacks of tools.attack.api, those that end at once, on a real server."""

from __future__ import annotations

import random

from tools.attack import api


async def test_strangers_crowds_and_random_requests_do_no_harm() -> None:
    seed = random.randrange(10**6)  # noqa: S311 - another one each time, printed with a failure
    assert await api.run((api.strangers, api.crowd), 40, seed) == 0
