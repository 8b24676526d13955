"""Without a working compiler the install is pure Python: it says so once, and everything still runs."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from command_line import tiny_capture

ROOT = Path(__file__).resolve().parents[1]
_SOURCES = ("cuda_ext", "fields", "data", "scenegen", "app")
_FILES = ("pyproject.toml", "CMakeLists.txt", "README.md", "LICENSE")


def _sources(folder: Path) -> Path:
    """A copy of the source tree without anything built in it."""
    for name in _SOURCES:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    for name in _FILES:
        shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unpacked wheel that was built where every compiler fails."""
    if importlib.util.find_spec("scikit_build_core") is None or importlib.util.find_spec("nanobind") is None:
        pytest.skip("no scikit-build-core or nanobind in this environment")
    folder = tmp_path_factory.mktemp("pure")
    (folder / "src").mkdir()
    source = str(_sources(folder / "src"))
    options = ["--no-deps", "--no-build-isolation", "--no-index", "-w", str(folder)]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", source, *options],
        env={**os.environ, "CXX": shutil.which("false") or "/bin/false"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    (wheel,) = folder.glob("*.whl")
    assert wheel.name.endswith("-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert not [name for name in archive.namelist() if name.endswith((".so", ".cpp", ".cu"))]
        archive.extractall(folder / "site")
    return folder / "site"


def _command(site: Path, *words: str) -> subprocess.CompletedProcess[str]:
    code = (
        "import sys; sys.meta_path[:] = [f for f in sys.meta_path if 'ScikitBuild' not in type(f).__name__]; "
        f"sys.path.insert(0, {str(site)!r}); import app; assert app.__file__.startswith({str(site)!r}); "
        "from app.cli import main; main()"
    )
    environment = {**os.environ, "PYTHONPATH": "", "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "-c", code, *words], env=environment, cwd=site, capture_output=True,
                          text=True, check=False)  # fmt: skip


@pytest.mark.slow
def test_fit_without_compiled_kernels_works_and_warns_once(installed: Path, tmp_path: Path) -> None:
    words = ("fit", str(tiny_capture()), "--preset", "tiny", "--steps", "8", "--out", str(tmp_path / "run"), "--json")
    done = _command(installed, *words)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"] == 8 and (tmp_path / "run" / "field.safetensors").is_file()
    lines = [line for line in done.stderr.splitlines() if "kernels" in line]
    assert len(lines) == 1 and lines[0].startswith("warning: ")
    assert "No module named 'cuda_ext._native'" in lines[0] and "10 to 50 times slower" in lines[0]


@pytest.mark.slow
def test_doctor_tells_that_kernels_are_missing_and_what_to_do(installed: Path) -> None:
    done = _command(installed, "doctor")
    (line,) = [line for line in done.stdout.splitlines() if "native" in line and "missing" in line]
    assert "10 to 50 times slower" in line and "C++17 compiler" in line and done.stderr == ""
