"""A request's body as it comes in: never larger than allowed, never slower than a person's line."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.formparsers import MultiPartException

from fields.errors import UserError

from .limits import MIB, Limits

Message = MutableMapping[str, Any]

_DRAIN, _DRAIN_SECONDS, _DRAIN_PAUSE = 256 * MIB, 10.0, 0.5  # of a body that is refused already


class BodyRefused(MultiPartException):
    """Ends whatever was reading a body that is refused; the reason is in `Body.problem`.

    Starlette's reader of forms closes its temporary files for this kind of exception only.
    """

    def __init__(self) -> None:
        super().__init__("the body is refused")


class Body:
    """Takes the place of a request's `receive`; `problem` says why reading it ended early."""

    def __init__(
        self, receive: Callable[[], Awaitable[Message]], limit: int, headers: dict[bytes, bytes], limits: Limits
    ) -> None:
        self._receive, self._limit = receive, limit
        self._size, self._complete = 0, False
        announced = headers.get(b"content-length", b"0")
        length = int(announced) if announced.isdigit() and len(announced) < 20 else 0
        self._deadline = time.monotonic() + limits.body_seconds + min(length, limit) / limits.upload_rate
        self.problem: UserError | None = self._too_large(length) if length > limit else None

    async def receive(self) -> Message:
        """The next part of the body.

        Raises:
            BodyRefused: too large or too slow.
        """
        if self.problem is not None:
            raise BodyRefused
        if self._complete:
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), self._deadline - time.monotonic())
        except TimeoutError:
            self.problem = UserError("E-WEB-SLOW", "the request did not come in in time", fix="send it again")
            raise BodyRefused from None
        if message["type"] == "http.disconnect":
            self.problem = UserError("E-WEB-REQUEST", "the request ended before its end")
            raise BodyRefused
        self._size += len(message.get("body", b""))
        self._complete = not message.get("more_body", False)
        if self._size > self._limit:
            self.problem = self._too_large(self._size)
            raise BodyRefused
        return message

    async def drain(self) -> None:
        """Take in what a client still sends, within bounds: one that is cut off while it sends hears no answer."""
        taken, end = 0, time.monotonic() + _DRAIN_SECONDS
        while not self._complete and taken < _DRAIN and time.monotonic() < end:
            try:
                message = await asyncio.wait_for(self._receive(), _DRAIN_PAUSE)
            except TimeoutError:
                return
            taken += len(message.get("body", b""))
            self._complete = not message.get("more_body", False)

    def _too_large(self, size: int) -> UserError:
        expected = f"at most {self._limit / MIB:g} MiB"
        return UserError("E-WEB-SIZE", "the request is too large", got=f"{size / MIB:.1f} MiB", expected=expected,
                         fix="send less at once")  # fmt: skip
