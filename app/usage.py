"""Mistakes in the command line itself, as the same kind of line as every other refusal."""

from __future__ import annotations

import re
from difflib import get_close_matches

import typer

from fields.errors import UserError

# typer.BadParameter is a UsageError, which is a ClickException: the base class of every usage mistake.
NEAREST: type[Exception] = typer.BadParameter.__mro__[2]


def usage_error(error: Exception) -> UserError:
    """`E-USAGE-…` for what typer found wrong, with the nearest command or option.

    `error` is a `ClickException`.
    """
    message = str(getattr(error, "format_message", lambda: error)()).split("\n")[0].strip()
    path = getattr(getattr(error, "ctx", None), "command_path", "fieldscape")
    fix = f"see {path} --help"
    option = getattr(error, "option_name", None)
    if type(error).__name__ == "NoSuchOption" and option:
        nearest = get_close_matches(option, _options_of(error), n=1, cutoff=0.5)
        return UserError(
            "E-USAGE-OPTION",
            "no such option",
            got=option,
            expected=f"an option of {path}",
            fix=f"use {nearest[0]}, or {fix}" if nearest else fix,
        )
    unknown = re.match(r"No such command '([^']*)'", message)
    if unknown:
        commands = list(getattr(_command_of(error), "commands", {}))
        nearest = get_close_matches(unknown[1], commands, n=1, cutoff=0.5)
        return UserError(
            "E-USAGE-COMMAND",
            "no such command",
            got=unknown[1],
            expected=" ".join(commands),
            fix=f"use {nearest[0]}, or {fix}" if nearest else fix,
        )
    code = "E-USAGE-VALUE" if isinstance(error, typer.BadParameter) else "E-USAGE"
    return UserError(code, message[:1].lower() + message[1:], fix=fix)


def _options_of(error: Exception) -> list[str]:
    return [
        name
        for parameter in getattr(_command_of(error), "params", ())
        for name in parameter.opts
        if name.startswith("--")
    ]


def _command_of(error: Exception) -> object:
    return getattr(getattr(error, "ctx", None), "command", None)
