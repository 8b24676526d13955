"""The demonstration, at its smallest."""

from __future__ import annotations

import json
import re
from pathlib import Path

import trimesh
from command_line import run

from app.console import Console
from app.demo import PREFERRED, DemoSettings, demo
from app.demo_report import write_demo_report
from fields.backends import BACKENDS

_SMALL = DemoSettings(2.0, 32, views=10, test_views=4, frames=3, resolution=24, blocks=(1, 1), preset="tiny")


def test_demo_goes_from_photos_to_mesh_and_report(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    result = Console("-").run(demo(out, _SMALL))
    report = write_demo_report(out, result)
    found = json.loads((out / "demo.json").read_text())
    assert found["seconds"].keys() == {"photos", "fit", "convert", "evaluate", "render", "mesh", "world"}
    assert found["fit"]["backend"] == "hash" and found["converted"]["backend"] in PREFERRED
    assert found["fit"]["psnr"] > 8 and found["converted"]["psnr"] > 8
    assert len(trimesh.load(out / "scene.glb", force="mesh").faces) == found["mesh"]["faces"] > 0
    assert found["world"]["blocks"] == 1 and found["world"]["faces"] > 1000
    assert len(trimesh.load(out / "world.glb", force="mesh").faces) == found["world"]["faces"]
    assert len(list((out / "orbit").glob("*.png"))) == 3
    assert run("eval", out / "fit", out / "capture", "--json").json["mean"] == {
        key: found["fit"][key] for key in ("psnr", "ssim")
    }
    page = report.read_text()
    assert page.count("<img") == page.count("data:image/") == 2 + 3 * 6 + 2
    assert not re.search(r"https?://|<script|<link", page)


def test_demo_converts_into_a_backend_that_is_there() -> None:
    assert set(PREFERRED) & set(BACKENDS)
