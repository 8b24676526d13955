"""The `fieldscape` command: one entry point, one place where failures become lines and exit codes."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import typer

from fields.errors import ExitCode, UserError, UserErrors
from fields.memory import keep_freed_memory

from .arguments import split_global
from .console import emit, silence
from .usage import NEAREST, usage_error

COMMANDS = ("doctor", "fit", "eval", "render", "convert", "mesh", "bench", "demo", "scene", "app")
_BUG_FIX = "run it again with --debug and report what it prints"


def build() -> typer.Typer:
    """The command line; no command's heavy modules are imported by it."""
    app = typer.Typer(
        name="fieldscape",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        help="Make, convert and mesh neural 3D fields, on two CPU cores or on a GPU.",
    )

    @app.callback()
    def program(
        version: bool = typer.Option(
            False, "--version", is_eager=True, callback=_show_version, help="Print the version and leave."
        ),
        debug: bool = typer.Option(
            False, "--debug", help="With any command: print a traceback when something unexpected happens."
        ),
    ) -> None:
        """Both options act before a command runs: here they are only described."""

    for name in COMMANDS:
        import_module(f"app.commands.{name}").register(app)
    return app


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code (`fields.errors.ExitCode`)."""
    _prepare_streams()
    keep_freed_memory()
    warnings.formatwarning = _warning_line
    arguments, options = split_global(list(sys.argv[1:] if argv is None else argv))
    sys.exit(int(_run(arguments, options.json, options.debug)))


def _run(arguments: list[str], as_json: bool, debug: bool) -> int:
    try:
        command = typer.main.get_command(build())
        status = command.main(arguments, prog_name="fieldscape", standalone_mode=False)
        return status if isinstance(status, int) else ExitCode.OK
    except UserError as error:
        _tell(error, as_json)
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        emit(sys.stderr, "interrupted")
        return ExitCode.INTERRUPTED
    except (BrokenPipeError, SystemExit):  # typer exits by itself when it prints into a closed pipe
        silence(sys.stdout)
        return ExitCode.OK
    except Exception as error:
        if debug and not isinstance(error, NEAREST):
            traceback.print_exc()
        mistake = usage_error(error) if isinstance(error, NEAREST) else _bug(error)
        _tell(mistake, as_json)
        return mistake.exit_code


def _bug(error: Exception) -> UserError:
    if isinstance(error, MemoryError):
        return UserError("E-LIMIT-MEMORY", "out of memory", got=error, fix="use smaller pictures or a smaller preset")
    return UserError("E-BUG", "this should not have happened", got=f"{type(error).__name__}: {error}", fix=_BUG_FIX)


def _tell(error: UserError, as_json: bool) -> None:
    if as_json:
        from .console import Console

        Console("-").finish({"error": _document(error)})
    emit(sys.stderr, error.line())


def _document(error: UserError) -> dict[str, Any]:
    found: dict[str, Any] = {
        "code": error.code,
        "what": error.what,
        "where": error.where,
        "got": error.got,
        "expected": error.expected,
        "fix": error.fix,
        "exit": int(error.exit_code),
        "line": error.line(),
    }
    if isinstance(error, UserErrors):
        found["problems"] = [_document(problem) for problem in error.problems]
    return found


def _warning_line(message: Warning | str, *_: object, **__: object) -> str:
    """A library's warning as people read it, without the place in the code that it came from."""
    return f"warning: {message}\n"


def _prepare_streams() -> None:
    """Streams that always exist and can print any character, whatever the locale."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _show_version(wanted: bool) -> None:
    if wanted:
        from .hardware import program_version

        emit(sys.stdout, f"fieldscape {program_version()}")
        raise typer.Exit
