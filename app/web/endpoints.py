"""The service's actions as named gradio endpoints, so that gradio's clients can do what the pages do.

A client keeps the cookie of its first answer, so it is one owner for as long as it lives.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gradio

from fields.errors import UserError

from .owner import owner_of
from .service import Service


def register(service: Service) -> None:
    """Add the endpoints to the Blocks that is open."""
    _add("submit", _submit(service))
    _add("jobs", _jobs(service))
    for name, action in (("job", service.job), ("cancel", service.cancel), ("resume", service.resume)):
        _add(name, _on_one(action))
    _add("delete", _delete(service))
    _add("rename", _rename(service))


def _submit(service: Service) -> Callable[..., dict[str, Any]]:
    def submit(kind: str, parameters: dict[str, Any], key: str | None, request: gradio.Request) -> dict[str, Any]:
        return service.submit(owner_of(request), kind, parameters, key or None)

    return submit


def _jobs(service: Service) -> Callable[..., list[dict[str, Any]]]:
    def jobs(request: gradio.Request) -> list[dict[str, Any]]:
        return service.jobs(owner_of(request))

    return jobs


def _on_one(action: Callable[[str, str], dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    def on_one(id: str, request: gradio.Request) -> dict[str, Any]:
        return action(owner_of(request), id)

    return on_one


def _delete(service: Service) -> Callable[..., dict[str, Any]]:
    def delete(id: str, request: gradio.Request) -> dict[str, Any]:
        service.delete(owner_of(request), id)
        return {}

    return delete


def _rename(service: Service) -> Callable[..., dict[str, Any]]:
    def rename(id: str, title: str, request: gradio.Request) -> dict[str, Any]:
        return service.rename(owner_of(request), id, title)

    return rename


def _add(name: str, function: Callable[..., Any]) -> None:
    gradio.api(_told(function), api_name=name, queue=False, concurrency_limit=None)


def _told(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, whose refusals the caller is told; gradio keeps other failures to itself."""
    from functools import wraps

    @wraps(function)
    def told(*values: Any, **named: Any) -> Any:
        try:
            return function(*values, **named)
        except UserError as error:
            raise gradio.Error(error.line(), print_exception=False) from None

    return told
