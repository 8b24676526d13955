"""Who owns what: a random signed cookie, and its hash wherever an owner is written down."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any

from fields.safeio import write_bytes

COOKIE = "fieldscape"
HEADER = b"x-fieldscape-owner"  # set by the guard for everything behind it; one from outside is dropped
_YEAR = 365 * 24 * 3600
_TOKEN_BYTES = 16


class Owners:
    """Issues and checks owner cookies with a secret of this state folder."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    @classmethod
    def kept_in(cls, folder: Path) -> Owners:
        """With the secret in `folder`, made at its first use and readable by this user only."""
        path = folder / "secret"
        if not path.is_file():
            write_bytes(path, secrets.token_bytes(32))
            os.chmod(path, 0o600)
        return cls(path.read_bytes())

    def issue(self) -> str:
        """The value of a cookie for a new owner."""
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        return f"{token}.{self._signature(token)}"

    def owner_in(self, cookies: str) -> str | None:
        """The owner that a Cookie header names, None without a genuine one."""
        for value in _values(cookies):
            token, _, signature = value.partition(".")
            if hmac.compare_digest(signature.encode(), self._signature(token).encode()):
                return hashed(token)
        return None

    def _signature(self, token: str) -> str:
        return hmac.new(self._secret, token.encode(), hashlib.sha256).hexdigest()


def hashed(token: str) -> str:
    """What stands for an owner in the store and in folder names."""
    return hashlib.sha256(token.encode()).hexdigest()[:32]


def owner_of(request: Any) -> str:
    """The owner whom the guard found for a request (Starlette's or gradio's)."""
    return str(request.headers[HEADER.decode()])


def cookie_header(value: str) -> bytes:
    """The Set-Cookie header for a new owner."""
    return f"{COOKIE}={value}; Path=/; Max-Age={_YEAR}; HttpOnly; SameSite=Strict".encode()


def _values(cookies: str) -> list[str]:
    """Values of our cookie in a header; several may be there, of which at most one is genuine."""
    found = []
    for part in cookies.split(";")[:50]:
        try:
            morsel = SimpleCookie(part.strip()).get(COOKIE)
        except CookieError:
            continue
        if morsel is not None and morsel.value.isascii() and len(morsel.value) < 200:
            found.append(morsel.value)
    return found
