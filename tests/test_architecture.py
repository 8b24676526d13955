"""Rules that hold for the source text itself: who imports whom, who may write files, what is never called."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("cuda_ext", "fields", "data", "scenegen", "app")  # each imports only from those before it
HEAVY = {"torch", "gradio", "trimesh", "diffusers", "skimage"}
FORBIDDEN_CALLS = {
    "eval", "exec", "os.system", "os.popen", "pickle.load", "pickle.loads", "pickle.Unpickler", "torch.load",
    "joblib.load", "yaml.load", "marshal.loads", "shelve.open",
}  # fmt: skip
WRITING_CALLS = {"torch.save", "np.save", "np.savez", "np.savez_compressed", "numpy.save", "numpy.savez"}
WRITING_METHODS = {"export", "write_text", "save_file"}
WRITERS = {"fields/safeio.py", "fields/mesh_files.py"}  # the only files that may write by themselves

Check = Callable[[ast.Module, str], list[str]]

SOURCES = {
    path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}


def _calls(tree: ast.AST) -> Iterator[tuple[ast.Call, str]]:
    """Every call with the dotted name of what is called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield node, ast.unparse(node.func)


def _imported(tree: ast.AST, name: str) -> Iterator[tuple[int, str]]:
    """Line and absolute dotted name of every import in the file `name`, at any depth."""
    package = name.removesuffix(".py").split("/")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield node.lineno, module
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def _wrong_imports(tree: ast.AST, name: str) -> list[str]:
    allowed = PACKAGES[: PACKAGES.index(name.split("/")[0]) + 1]
    refused, imports = {*PACKAGES, "tests"} - set(allowed), _imported(tree, name)
    return [f"{name}:{line}: {module}" for line, module in imports if module.split(".")[0] in refused]


def _at_import(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements that run when the module is imported, blocks included, type-checking blocks not."""
    for node in body:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for block in ("body", "orelse", "finalbody", "handlers"):
                yield from _at_import([n for n in getattr(node, block, []) if isinstance(n, ast.AST)])


def _loaded_with(tree: ast.Module, name: str) -> list[tuple[int, str]]:
    """Imports that run when the file `name` is imported."""
    statements = [s for s in _at_import(tree.body) if isinstance(s, ast.Import | ast.ImportFrom)]
    return [found for s in statements for found in _imported(ast.Module([s], []), name)]


def _heavy_imports(tree: ast.Module, name: str) -> list[str]:
    imports = _loaded_with(tree, name)
    return [f"{name}:{line}: {module}" for line, module in imports if module.split(".")[0] in HEAVY]


def _files_of(module: str) -> set[str]:
    """Source files that importing `module` may load: its packages and itself, or a name in its package."""
    parts = module.split(".")
    steps = ["/".join(parts[: i + 1]) for i in range(len(parts))]
    return {file for step in steps for file in (f"{step}.py", f"{step}/__init__.py")} & SOURCES.keys()


def _loaded_at_start() -> set[str]:
    """Every file of ours that the command line loads before a command runs."""
    reached, waiting = set(), [*_files_of("app.cli"), *_files_of("app.__main__")]
    while waiting:
        name = waiting.pop()
        reached.add(name)
        found = {file for _, module in _loaded_with(SOURCES[name], name) for file in _files_of(module)}
        waiting.extend(found - reached)
    return reached


def _unsafe_calls(tree: ast.AST, name: str) -> list[str]:
    found = []
    for call, called in _calls(tree):
        words = {k.arg: ast.unparse(k.value) for k in call.keywords}
        unsafe = called in FORBIDDEN_CALLS or called.endswith(".extractall")
        if unsafe or words.get("shell", "False") != "False" or words.get("allow_pickle", "False") != "False":
            found.append(f"{name}:{call.lineno}: {called}")
    return found


def _mode(call: ast.Call, called: str) -> str:
    """The mode that a call of `open(path, mode)` or `path.open(mode)` is given, "" for the default."""
    position = 1 if called in ("open", "io.open") else 0
    by_name = [k.value for k in call.keywords if k.arg == "mode"]
    given = by_name or call.args[position : position + 1]
    return str(given[0].value) if given and isinstance(given[0], ast.Constant) else ""


def _writing_calls(tree: ast.AST, name: str) -> list[str]:
    found = []
    for call, called in _calls(tree):
        owner, _, method = called.rpartition(".")
        opens = (called == "open" or method == "open") and owner not in ("os", "Image", "webbrowser")
        writes = called in WRITING_CALLS or (owner and method in WRITING_METHODS)
        writes = writes or (method == "write_bytes" and owner not in ("", "safeio"))
        opens = opens and "os.devnull" not in map(ast.unparse, call.args)
        if writes or (opens and set(_mode(call, called)) & set("wax+")):
            found.append(f"{name}:{call.lineno}: {called}")
    return found


def _over_sources(check: Check) -> list[str]:
    return [line for name, tree in SOURCES.items() for line in check(tree, name)]


def test_packages_import_only_leftwards() -> None:
    assert len(SOURCES) > 10
    assert _over_sources(_wrong_imports) == []


def test_command_line_imports_heavy_libraries_only_when_a_command_runs() -> None:
    at_start = _loaded_at_start()
    assert not at_start or "fields/errors.py" in at_start
    assert [line for name in at_start for line in _heavy_imports(SOURCES[name], name)] == []


def test_nothing_runs_foreign_code() -> None:
    assert _over_sources(_unsafe_calls) == []


def test_files_are_written_in_one_place() -> None:
    assert [line for line in _over_sources(_writing_calls) if line.split(":")[0] not in WRITERS] == []


@pytest.mark.skipif(not (ROOT / "app" / "cli.py").exists(), reason="no command line in this checkout")
def test_command_line_loads_no_heavy_library() -> None:
    code = f"import sys, app.cli; print(*sorted({HEAVY!r} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout.strip()) == (0, ""), run.stderr


@pytest.mark.parametrize(
    ("check", "name", "text"),
    [
        (_wrong_imports, "fields/x.py", "import app.cli"),
        (_wrong_imports, "fields/x.py", "def f():\n    from data import load_views"),
        (_wrong_imports, "data/layouts/x.py", "from scenegen.vae import VAE"),
        (_wrong_imports, "cuda_ext/x.py", "from tests import conftest"),
        (_heavy_imports, "app/x.py", "try:\n    import torch.nn\nexcept ImportError:\n    pass"),
        (_heavy_imports, "app/x.py", "class A:\n    from gradio import Blocks"),
        (_unsafe_calls, "app/x.py", "pickle.load(file)"),
        (_unsafe_calls, "app/x.py", "torch.load(file, weights_only=True)"),
        (_unsafe_calls, "app/x.py", "np.load(file, allow_pickle=True)"),
        (_unsafe_calls, "app/x.py", "subprocess.run(line, shell=True)"),
        (_unsafe_calls, "app/x.py", "zipfile.ZipFile(a).extractall(b)"),
        (_unsafe_calls, "app/x.py", "eval(text)"),
        (_writing_calls, "app/x.py", "open(path, 'w')"),
        (_writing_calls, "app/x.py", "open(path, mode='ab')"),
        (_writing_calls, "app/x.py", "Path(path).open('wb')"),
        (_writing_calls, "app/x.py", "path.write_bytes(b'')"),
        (_writing_calls, "app/x.py", "mesh.export(path)"),
        (_writing_calls, "app/x.py", "torch.save(x, path)"),
    ],
)
def test_rule_catches_a_planted_violation(check: Check, name: str, text: str) -> None:
    assert check(ast.parse(text), name)


@pytest.mark.parametrize(
    ("check", "name", "text"),
    [
        (_wrong_imports, "data/layouts/x.py", "from fields.errors import UserError\nfrom .. import images"),
        (_heavy_imports, "app/x.py", "def run():\n    import torch"),
        (_heavy_imports, "app/x.py", "if TYPE_CHECKING:\n    import torch"),
        (_unsafe_calls, "app/x.py", "model.eval()\nnp.load(file, allow_pickle=False)"),
        (_writing_calls, "app/x.py", "open(path)\nopen(os.devnull, 'w')\nwrite_bytes(path, b'')"),
        (_writing_calls, "app/x.py", "Image.open(path)\nos.open(path, os.O_RDWR)\nfile.write(b'')"),
    ],
)
def test_rule_accepts_what_is_allowed(check: Check, name: str, text: str) -> None:
    assert check(ast.parse(text), name) == []
