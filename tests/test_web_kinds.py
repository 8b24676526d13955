"""Every kind of job through a live server and the real worker, as a page asks for them."""

from __future__ import annotations

import io
import json
import os
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import trimesh
from command_line import tiny_capture
from glb_check import read_glb
from PIL import Image
from web_server import serving, until
from web_world_worker import WEIGHTS
from world_models import floor_model

from app.web.jobs.parameters import MODEL
from scenegen.shipped import SHIPPED


@dataclass(frozen=True)
class Person:
    """Somebody who asks for one thing after the other."""

    client: httpx.Client

    def job(self, kind: str, **parameters: Any) -> dict[str, Any]:
        """A job of this kind when it is over."""
        answer = self.client.post("/api/jobs", json={"kind": kind, "parameters": parameters})
        assert answer.status_code == 201, answer.text
        return self.over(answer.json()["id"])

    def over(self, job: str) -> dict[str, Any]:
        """A job that was asked for, when it is over."""
        until(lambda: self.client.get(f"/api/jobs/{job}").json()["state"] not in ("queued", "running"))
        return self.client.get(f"/api/jobs/{job}").json()

    def done(self, kind: str, **parameters: Any) -> dict[str, Any]:
        """The same, of one that succeeds."""
        found = self.job(kind, **parameters)
        assert found["state"] == "done", found["error"]
        return found

    def file(self, job: dict[str, Any], name: str) -> bytes:
        """A file of a job, which the list of its files has."""
        assert name in [file["name"] for file in job["files"]] or "/" in name
        answer = self.client.get(f"/files/{job['id']}/{name}")
        assert answer.status_code == 200
        return answer.content

    def picture(self, job: dict[str, Any], name: str) -> Image.Image:
        """A picture among them."""
        return Image.open(io.BytesIO(self.file(job, name)))

    def blocks(self, scene: dict[str, Any]) -> dict[tuple[int, int], int]:
        """Revisions of the blocks that a page shows of a world; each of them has a surface."""
        shown = self.client.get(f"/api/scenes/{scene['id']}").json()
        assert shown["busy"] == [] and shown["planned"] == []
        found = {(block["i"], block["k"]): block["revision"] for block in shown["blocks"]}
        for i, k in found:
            assert struct.unpack_from("<4s", self.file(scene, f"blocks/{i}_{k}.bin"))[0]
        return found


@pytest.fixture
def person(tmp_path: Path) -> Iterator[Person]:
    with serving(tmp_path, module="tests.web_world_worker", cancel_seconds=1.5) as live, live.visitor() as client:
        yield Person(client)


def sent_photos(person: Person) -> str:
    root = tiny_capture()
    files = [("files", (p.relative_to(root.parent).as_posix(), p.read_bytes())) for p in root.rglob("*.*")]
    answer = person.client.post("/api/uploads", files=files)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def test_photos_become_a_field_and_a_mesh(person: Person) -> None:
    photos = sent_photos(person)
    field = person.done("fit", source=photos, preset="tiny", steps=20)
    assert field["title"] == "Field of capture" and field["result"]["steps"] == 20
    assert person.picture(field, "preview.jpg").width > 20
    record = json.loads(person.file(field, "run.json"))
    assert record["status"] == "done" and "/" not in record["settings"]["source"]
    assert person.client.get(f"/api/jobs/{field['id']}/curve").json()["points"]
    made = person.done("mesh", field=field["id"], resolution=16)
    mesh = trimesh.load(io.BytesIO(person.file(made, "mesh.glb")), file_type="glb", force="mesh")
    assert len(mesh.faces) == made["result"]["faces"] > 0
    refused = person.job("fit", source=photos, backend="clouds", steps=1)
    assert refused["state"] == "failed" and refused["error"]["code"] == "E-USAGE-BACKEND" and refused["files"] == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_sample_is_fitted_filmed_and_converted(person: Person) -> None:
    field = person.done("fit", source="sample", seconds=10.0)
    assert field["result"]["metrics"]["psnr"] > 18
    film = person.done("render", field=field["id"], frames=3, size=[32, 24])
    assert person.file(film, "film.mp4")[4:8] == b"ftyp" and film["result"]["files"] == ["film.mp4"]
    still = person.done("render", field=field["id"], frames=1, size=[32, 24], what=["rgb", "depth"], film=False)
    assert person.picture(still, still["result"]["files"][0]).size == (32, 24)
    student = person.done("convert", field=field["id"], backend="vm", preset="tiny", seconds=5.0, against="sample")
    assert {"report.html", "report.json", "teacher.jpg", "preview.jpg"} <= {file["name"] for file in student["files"]}
    again = person.done("mesh", field=student["id"], resolution=32, format="obj", simplify=500)
    assert again["result"]["faces"] <= 500 and person.file(again, "preview.glb")[:4] == b"glTF"


@pytest.fixture(params=["untrained", pytest.param("shipped", marks=pytest.mark.slow)])
def weights(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of the name that the program comes with."""
    folder = tmp_path / "weights"
    folder.mkdir()
    given = os.environ.get(WEIGHTS, SHIPPED)
    (folder / MODEL).symlink_to(floor_model() if request.param == "untrained" else Path(given) / MODEL)
    monkeypatch.setenv(WEIGHTS, str(folder))


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_world_is_made_grown_changed_and_written(weights: None, person: Person, tmp_path: Path) -> None:
    scene = person.done("generate", size=[2, 1], quality="quick", steps=2)
    begun = person.blocks(scene)
    assert set(begun) == {(0, 0), (1, 0)} and person.picture(scene, "preview.png").width > 20
    person.done("extend", scene=scene["id"], block=[2, 0])
    grown = person.blocks(scene)
    assert set(grown) == {(0, 0), (1, 0), (2, 0)}
    person.done("redo", scene=scene["id"], block=[0, 0])
    changed = person.blocks(scene)
    assert changed[0, 0] > grown[0, 0] and changed[2, 0] == grown[2, 0]
    for left in (set(grown), set(begun)):
        person.done("undo", scene=scene["id"])
        assert set(person.blocks(scene)) == left
    written = person.done("world_mesh", scene=scene["id"], cells=16)
    (tmp_path / "world.glb").write_bytes(person.file(written, "world.glb"))
    assert written["result"]["blocks"] == 2 and read_glb(tmp_path / "world.glb").primitives()
    archive = zipfile.ZipFile(io.BytesIO(person.client.get(f"/api/jobs/{scene['id']}/archive").content))
    assert "scene/scene.json" in archive.namelist() and "world.json" in archive.namelist()
    refused = person.job("extend", scene=scene["id"], block=[9, 9])
    assert refused["state"] == "failed" and refused["error"]["code"].startswith("E-")
