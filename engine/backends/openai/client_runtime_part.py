"""Makes the openai package's client: no retries of its own, no connection kept open.

Importing this module takes about a second: do it off the event loop.
"""

from __future__ import annotations

import httpx2
import openai  # noqa: TID253 - this module is imported lazily
from openai import AsyncOpenAI  # noqa: TID253 - as above

from engine.core.errors import EngineUnavailable
from engine.core.i18n import tr

_LIMITS = httpx2.Limits(max_keepalive_connections=0)
"""A connection for each question: one kept open is stale by the next (a server that was started
again, another event loop), and a handshake is little beside an answer."""


def make_client(
    server: str, base_url: str | None, key: str, *, connect: float, stall: float
) -> AsyncOpenAI:
    """A client for the server, whose name is for errors. `connect` and `stall` are seconds.

    The package's own retries are off, since they would also repeat what no repetition helps (an
    empty account), and what must not be done twice. Raises EngineUnavailable if none can be made.
    """
    timeout = httpx2.Timeout(stall, connect=connect)
    try:
        # The package's own HTTP client closes itself in `__del__`, which logs an error on the
        # terminal if it was never made whole: after a proxy that is no address, for example.
        http = openai.DefaultAsyncHttpx2Client(timeout=timeout, limits=_LIMITS)
        return AsyncOpenAI(
            api_key=key, base_url=base_url, timeout=timeout, max_retries=0, http_client=http
        )
    except (httpx2.InvalidURL, ValueError, ImportError, OSError):
        # A strange address or proxy, SOCKS without its package, certificates that are not there.
        raise EngineUnavailable(
            tr("No connection to {server} can be set up.").format(server=server),
            tr(
                "Check `base_url` of this engine, and the proxy and certificates of the "
                "environment."
            ),
        ) from None
