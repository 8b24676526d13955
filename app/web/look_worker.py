"""The process that looks at fields for the pages: `python -m app.web.look_worker`.

Orders are JSON lines on stdin. An answer is a JSON line (`number`, and `bytes` that follow it, `about`, `stale` or
`error`) on stdout. Of the orders of one view only the newest counts; coarse pictures go before fine ones, also while
a fine one is being made.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from collections.abc import Callable
from typing import Any, BinaryIO

from fields.errors import UserError

from .answers import bug, described
from .jobs.worker import limit

Order = dict[str, Any]


class Orders:
    """What is waiting; filled by the thread that reads stdin."""

    def __init__(self, drop: Callable[[Order], None]) -> None:
        self._drop = drop
        self._waiting: dict[str, Order] = {}  # by view
        self._newest: dict[str, int] = {}
        self._change = threading.Condition()
        self._over = False

    def put(self, order: Order) -> None:
        """Add an order in place of the one of the same view that still waits."""
        with self._change:
            before = self._waiting.pop(order["view"], None)
            self._waiting[order["view"]] = order
            self._newest[order["view"]] = order["number"]
            self._change.notify()
        if before is not None:
            self._drop(before)

    def end(self) -> None:
        """No more will come."""
        with self._change:
            self._over = True
            self._change.notify()

    def next(self) -> Order | None:
        """The next order, coarse ones first; waits for one, and is None when no more will come."""
        with self._change:
            while not self._waiting and not self._over:
                self._change.wait()
            return self._take(False)

    def next_coarse(self) -> Order | None:
        """A coarse order that waits."""
        with self._change:
            return self._take(True)

    def is_stale(self, order: Order) -> bool:
        """Whether a newer order of the same view came in."""
        return self._newest.get(order["view"]) != order["number"]

    def done(self, order: Order) -> None:
        """Forget a view that asked for nothing newer."""
        with self._change:
            if self._newest.get(order["view"]) == order["number"]:
                del self._newest[order["view"]]

    def _take(self, coarse: bool) -> Order | None:
        quick = [order for order in self._waiting.values() if order["quality"] == "coarse"]
        found = quick or ([] if coarse else list(self._waiting.values()))
        return self._waiting.pop(found[0]["view"]) if found else None


class Desk:
    """Takes orders and answers them."""

    def __init__(self, stream: BinaryIO, seconds: dict[str, float]) -> None:
        from .look_render import Painter, Stale

        self._stream, self._lock = stream, threading.Lock()
        self._stale = Stale
        self.orders = Orders(lambda order: self._send({"number": order["number"], "stale": True}))
        self._painter = Painter(seconds)

    def serve(self) -> None:
        """Answer until no more orders come."""
        while (order := self.orders.next()) is not None:
            self._answer(order)

    def _answer(self, order: Order) -> None:
        number = {"number": order["number"]}
        try:
            if order["quality"] == "about":
                self._send({**number, "about": self._painter.about(order["path"])})
            else:
                head, picture = self._painter.paint(order, lambda: self._between(order))
                self._send({**number, **head, "bytes": len(picture)}, picture)
        except self._stale:
            self._send({**number, "stale": True})
        except UserError as error:
            self._send({**number, "error": described(error)})
        except Exception as error:
            traceback.print_exc()
            self._send({**number, "error": bug(error)})
        self.orders.done(order)

    def _between(self, order: Order) -> None:
        """Between two parts of a fine picture: serve the impatient, or give up one that nobody waits for."""
        while (quick := self.orders.next_coarse()) is not None:
            self._answer(quick)
        if self.orders.is_stale(order):
            raise self._stale

    def _send(self, head: dict[str, Any], content: bytes = b"") -> None:
        with self._lock:
            self._stream.write(json.dumps(head).encode() + b"\n" + content)
            self._stream.flush()


def main() -> None:
    """Serve orders until stdin ends; its first line tells the limits."""
    settings = json.loads(sys.stdin.readline())
    stream = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    limit(settings["memory"], 0)
    import torch

    torch.set_num_threads(settings["threads"])
    desk = Desk(stream, settings["seconds"])

    def receive() -> None:
        for line in sys.stdin:
            desk.orders.put(json.loads(line))
        desk.orders.end()

    threading.Thread(target=receive, daemon=True).start()
    desk.serve()


if __name__ == "__main__":
    main()
