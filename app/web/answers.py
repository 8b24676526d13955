"""Refusals as HTTP answers: one table from error codes to statuses, and texts without places on this machine."""

from __future__ import annotations

import re
from typing import Any

from starlette.responses import JSONResponse

from fields.errors import UserError

_STATUS = {
    "E-WEB-JSON": 400,
    "E-WEB-REQUEST": 400,
    "E-WEB-ORIGIN": 403,
    "E-WEB-NOTFOUND": 404,
    "E-WEB-METHOD": 405,
    "E-WEB-SLOW": 408,
    "E-WEB-BUSY": 409,
    "E-WEB-STALE": 409,
    "E-WEB-SIZE": 413,
    "E-WEB-TYPE": 415,
    "E-WEB-HOST": 421,
    "E-WEB-RATE": 429,
    "E-WEB-FULL": 503,
    "E-WORKER": 503,
    "E-WEB-QUOTA": 507,
}
_BAD_INPUT = 422
_PLACE = re.compile(r"(?<![\w.<>])/(?:[^\s/:'\",]+/)*([^\s/:'\",]*)")  # an absolute path: only its last name is kept


def status_of(error: UserError) -> int:
    """The HTTP status of a refusal: 422 for whatever is wrong with the input itself."""
    return _STATUS.get(error.code, _BAD_INPUT)


def described(error: UserError) -> dict[str, str]:
    """A refusal as JSON values, every path shortened to its last name."""
    parts = {name: str(getattr(error, name)) for name in ("what", "where", "got", "expected", "fix")}
    return {"code": error.code, **{name: without_places(text) for name, text in parts.items()},
            "line": without_places(error.line())}  # fmt: skip


def without_places(text: str) -> str:
    """`text` with absolute paths of this machine shortened to their last names."""
    return _PLACE.sub(r"\1", text)


def refusal(error: UserError) -> JSONResponse:
    """The answer to a request that is refused."""
    return JSONResponse({"error": described(error)}, status_of(error))


def not_found() -> UserError:
    """The one answer for what does not exist and for what belongs to somebody else."""
    return UserError("E-WEB-NOTFOUND", "nothing is here", expected="something of yours", fix="go back to the library")


def bug(error: Exception) -> dict[str, Any]:
    """An unexpected failure as JSON values, without its text."""
    known = UserError("E-BUG", "this should not have happened", got=type(error).__name__, fix="report it")
    return described(known)
