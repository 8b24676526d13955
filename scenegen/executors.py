"""Independent tasks in this process, in several, or on a Ray cluster; results come as they get ready."""

from __future__ import annotations

import contextlib
import copy
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor
from concurrent.futures import wait as wait_for
from importlib import import_module
from itertools import islice
from multiprocessing.connection import wait
from typing import Any, Literal, TypeVar

from fields.errors import UserError
from fields.memory import keep_freed_memory

Executor = Literal["local", "ray"]
EXECUTORS: tuple[Executor, ...] = ("local", "ray")
_RAY_QUEUE = 256  # tasks handed to a cluster at a time

Task = TypeVar("Task")
Result = TypeVar("Result")


def check_executor(name: str) -> Executor:
    """The executor called `name`, when it can be used.

    Raises:
        UserError: `E-USAGE-EXECUTOR`, `E-ENV-RAY`.
    """
    if name == "ray":
        _ray()
        return "ray"
    if name != "local":
        raise UserError("E-USAGE-EXECUTOR", "no such executor", got=name, expected=" ".join(EXECUTORS),
                        fix="use --executor local")  # fmt: skip
    return "local"


class Workers:
    """This process, several, or a Ray cluster, kept for any number of rounds of tasks; a context manager.

    What a worker's `work` keeps in a cache of its module is there in the next round too.
    """

    def __init__(self, executor: Executor = "local", processes: int = 1) -> None:
        self._executor, self._processes = executor, processes
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def results(self, work: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
        """`work(task)` of every task, in any order; tasks are taken one by one, shortly before they begin.

        Closing the iterator cancels what has not begun.

        Raises:
            UserError: `E-ENV-RAY`, and what `work` raises.
        """
        if self._executor == "ray":
            return _on_ray(work, tasks)
        if self._processes <= 1:
            return map(work, tasks)
        return self._in_processes(work, tasks)

    def _in_processes(self, work: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self._processes, context, initializer=_begin_worker)
        pool, remaining = self._pool, iter(tasks)
        running = {pool.submit(work, task) for task in islice(remaining, 2 * self._processes)}
        try:
            while running:
                ready, running = wait_for(running, return_when=FIRST_COMPLETED)
                running |= {pool.submit(work, task) for task in islice(remaining, len(ready))}
                yield from (future.result() for future in ready)
        finally:
            for future in running:
                future.cancel()


def results(
    work: Callable[[Task], Result], tasks: Sequence[Task], executor: Executor = "local", processes: int = 1
) -> Iterator[Result]:
    """One round of `Workers`; `work` is a module's function, or a `partial` of one.

    Raises:
        UserError: `E-ENV-RAY`, and what `work` raises.
    """
    with Workers(executor, min(processes, len(tasks))) as workers:
        yield from workers.results(work, tasks)


def _begin_worker() -> None:
    """Ctrl-C is the parent's business; one thread each; and a parent that was killed takes its workers along."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keep_freed_memory()
    with contextlib.suppress(ImportError):
        import_module("torch").set_num_threads(1)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()


def _on_ray(work: Callable[[Task], Result], tasks: Iterable[Task]) -> Iterator[Result]:
    ray = _ray()
    ray.init(ignore_reinit_error=True, logging_level="ERROR")
    remote = ray.remote(work if hasattr(work, "__name__") else lambda task: work(task))
    remaining = iter(tasks)
    running = [remote.remote(task) for task in islice(remaining, _RAY_QUEUE)]
    try:
        while running:
            ready, running = ray.wait(running)
            running += [remote.remote(task) for task in islice(remaining, len(ready))]
            yield from copy.deepcopy(ray.get(ready))  # arrays of the cluster are read-only
    finally:
        for reference in running:
            ray.cancel(reference)


def _ray() -> Any:
    try:
        return import_module("ray")
    except ImportError as error:
        raise UserError("E-ENV-RAY", "Ray cannot be imported", got=error, expected="ray 2.40 or newer",
                        fix="pip install 'fieldscape[cluster]', or use --executor local") from None  # fmt: skip
