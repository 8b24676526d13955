"""Independent tasks in this process, in several, or on a Ray cluster; results come as they get ready."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from importlib import import_module
from multiprocessing.connection import wait
from typing import Any, Literal, TypeVar

from fields.errors import UserError

Executor = Literal["local", "ray"]
EXECUTORS: tuple[Executor, ...] = ("local", "ray")

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


def results(
    work: Callable[[Task], Result], tasks: Sequence[Task], executor: Executor = "local", processes: int = 1
) -> Iterator[Result]:
    """`work(task)` of every task, in any order; `work` is a module's function, or a `partial` of one.

    Closing the iterator cancels what has not begun.

    Raises:
        UserError: `E-ENV-RAY`, and what `work` raises.
    """
    if executor == "ray":
        yield from _on_ray(work, tasks)
    elif processes <= 1 or len(tasks) <= 1:
        yield from map(work, tasks)
    else:
        yield from _in_processes(work, tasks, min(processes, len(tasks)))


def _in_processes(work: Callable[[Task], Result], tasks: Sequence[Task], count: int) -> Iterator[Result]:
    pool = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), initializer=_begin_worker)
    try:
        for future in as_completed([pool.submit(work, task) for task in tasks]):
            yield future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _begin_worker() -> None:
    """Ctrl-C is the parent's business; one thread each; and a parent that was killed takes its workers along."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(ImportError):
        import_module("torch").set_num_threads(1)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()


def _on_ray(work: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
    ray = _ray()
    ray.init(ignore_reinit_error=True, logging_level="ERROR")
    remote = ray.remote(work if hasattr(work, "__name__") else lambda task: work(task))
    waiting = [remote.remote(task) for task in tasks]
    try:
        while waiting:
            ready, waiting = ray.wait(waiting)
            yield from ray.get(ready)
    finally:
        for reference in waiting:
            ray.cancel(reference)


def _ray() -> Any:
    try:
        return import_module("ray")
    except ImportError as error:
        raise UserError("E-ENV-RAY", "Ray cannot be imported", got=error, expected="ray 2.40 or newer",
                        fix="pip install 'fieldscape[cluster]', or use --executor local") from None  # fmt: skip
