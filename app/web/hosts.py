"""Which names this server answers to, so that a foreign page cannot reach it through a name of its own."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

LOOPBACK = ("127.0.0.1", "localhost", "::1")
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9.-]+)(:\d{1,5})?", re.ASCII)


@dataclass(frozen=True)
class Hosts:
    """Names of this server; a public one also answers to plain addresses, which no foreign name server can forge."""

    names: tuple[str, ...] = LOOPBACK
    public: bool = False

    def admits(self, host: str) -> bool:
        """Whether a Host header (name, optional port) is one of ours."""
        found = _HOST.fullmatch(host.lower())
        if found is None:
            return False
        name = found[1].strip("[]")
        return name in self.names or (self.public and _is_address(name))

    def admits_origin(self, origin: str, host: str) -> bool:
        """Whether an Origin header is the very host that was asked."""
        parts = urlsplit(origin)
        return parts.scheme in ("http", "https") and parts.netloc.lower() == host.lower()


def is_loopback(host: str) -> bool:
    """Whether an address to listen on is reached from this machine only."""
    return host in LOOPBACK


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
