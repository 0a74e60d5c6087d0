"""Which server an address means."""

from __future__ import annotations

import ipaddress
from urllib.parse import SplitResult, urlsplit


def split(base_url: str | None) -> SplitResult | None:
    """The parts of a web address; None for none, and for what is not one."""
    try:
        parts = urlsplit(base_url or "")
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        # The path of a request is put behind it, where a query would swallow that path.
        usable = usable and not parts.query and not parts.fragment
    except ValueError:
        return None
    return parts if usable else None


def server_name(base_url: str | None) -> str:
    """The server for a sentence: host and port without user and password; OpenAI for none."""
    address = split(base_url)
    return address.netloc.rpartition("@")[2] if address else "OpenAI"


def is_here(base_url: str | None) -> bool:
    """Whether the address is this machine."""
    address = split(base_url)
    host = (address.hostname if address else None) or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
