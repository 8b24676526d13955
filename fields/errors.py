"""The one way Fieldscape refuses something: one line saying what, where, got, expected, fix."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import IntEnum
from functools import partial
from typing import Any

_MAX_LISTED = 20


class ExitCode(IntEnum):
    """Exit status of every command."""

    OK = 0
    USAGE = 2
    BAD_INPUT = 3
    ENVIRONMENT = 4
    LIMIT = 5
    INCOMPATIBLE = 6
    NAN = 7
    BUG = 70
    INTERRUPTED = 130


_EXIT_BY_PREFIX = (
    ("E-LIMIT", ExitCode.LIMIT),
    ("E-CKPT", ExitCode.INCOMPATIBLE),
    ("E-ENV", ExitCode.ENVIRONMENT),
    ("E-NAN", ExitCode.NAN),
    ("E-USAGE", ExitCode.USAGE),
    ("E-BUG", ExitCode.BUG),
)


class UserError(Exception):
    """A problem that the user can mend; printed as one line, without a traceback.

    `code` is stable (`E-TF-FOV`), and its prefix decides the exit status.
    """

    def __init__(
        self, code: str, what: str, *, where: object = "", got: object = "", expected: str = "", fix: str = ""
    ) -> None:
        self.code, self.what, self.where, self.got = code, what, str(where), str(got)
        self.expected, self.fix = expected, fix
        super().__init__(self.line())

    def __reduce__(self) -> tuple[Any, ...]:
        """So that a worker process can raise it in its parent."""
        told = {"where": self.where, "got": self.got, "expected": self.expected, "fix": self.fix}
        return partial(UserError, self.code, self.what, **told), ()

    @property
    def exit_code(self) -> ExitCode:
        for prefix, status in _EXIT_BY_PREFIX:
            if self.code.startswith(prefix):
                return status
        return ExitCode.BAD_INPUT

    def line(self) -> str:
        """`error[CODE] what: where: got X, expected Y. Fix: Z.` on one line."""
        parts = [self.what.rstrip(".")]
        if self.where:
            parts.append(self.where)
        facts = ", ".join(
            word + text for word, text in (("got ", _short(self.got)), ("expected ", self.expected)) if text
        )
        if facts.strip():
            parts.append(facts)
        text = f"error[{self.code}] " + ": ".join(parts) + "."
        if self.fix:
            text += f" Fix: {self.fix.rstrip('.')}."
        return _one_line(text)


class UserErrors(UserError):
    """Every problem found in one source, reported together (at most 20 listed)."""

    def __init__(self, problems: Sequence[UserError]) -> None:
        self.problems = list(problems)
        first = self.problems[0]
        super().__init__(
            first.code, first.what, where=first.where, got=first.got, expected=first.expected, fix=first.fix
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return UserErrors, (self.problems,)

    def line(self) -> str:
        if not hasattr(self, "problems"):
            return ""
        lines = [problem.line() for problem in self.problems[:_MAX_LISTED]]
        if len(self.problems) > _MAX_LISTED:
            lines.append(f"and {len(self.problems) - _MAX_LISTED} more problems")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.line()


def raise_all(problems: Iterable[UserError]) -> None:
    """Raise nothing, the single problem, or all of them together."""
    found = list(problems)
    if len(found) == 1:
        raise found[0]
    if found:
        raise UserErrors(found)


def _short(text: str, limit: int = 120) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _one_line(text: str) -> str:
    """Control characters escaped, so that a file name cannot forge a line or a colour."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
