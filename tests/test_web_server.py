"""The server's routes, as a browser and a program use them."""

from __future__ import annotations

import io
import json
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import httpx
import pytest
from command_line import run, tiny_capture, tiny_run
from PIL import Image
from web_server import PATIENCE, Live, serving, until

from app.web import assets
from app.web.answers import without_places
from app.web.limits import Limits
from app.web.server import Address, check_address, listen, locked
from fields.backends import BACKENDS
from fields.errors import UserError

POSE = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 4.0]]


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with serving(tmp_path_factory.mktemp("state"), per_owner=50, waiting=500) as found:
        yield found


@pytest.fixture
def anna(live: Live) -> Iterator[httpx.Client]:
    with live.visitor() as client:
        yield client


def fit(client: httpx.Client, seed: int = 0, **more: Any) -> httpx.Response:
    return client.post("/api/jobs", json={"kind": "fit", "parameters": {"source": "sample", "seed": seed}, **more})


def over(client: httpx.Client, job: str) -> dict[str, Any]:
    until(lambda: client.get(f"/api/jobs/{job}").json()["state"] not in ("queued", "running"))
    return client.get(f"/api/jobs/{job}").json()


def sent(client: httpx.Client, *files: tuple[str, bytes]) -> httpx.Response:
    return client.post("/api/uploads", files=[("files", file) for file in files])


def zipped(folder: Path) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            archive.write(path, path.relative_to(folder.parent))
    return stream.getvalue()


def test_job_is_submitted_polled_and_its_files_fetched(anna: httpx.Client) -> None:
    answer = fit(anna, title="My <b>chair</b>")
    assert answer.status_code == 201 and answer.json()["title"] == "My <b>chair</b>"
    job = over(anna, answer.json()["id"])
    assert job["state"] == "done" and set(job) >= {"progress", "files", "error", "result", "eta", "position"}
    file = anna.get(f"/files/{job['id']}/made.txt")
    assert file.text == "made" and file.headers["content-disposition"].startswith("attachment")
    archive = zipfile.ZipFile(io.BytesIO(anna.get(f"/api/jobs/{job['id']}/archive").content))
    assert archive.testzip() is None and archive.read("made.txt") == b"made"
    assert anna.get(f"/api/jobs/{job['id']}/curve").json() == {"points": [[1.0, 0.5, 20.0]]}


def test_job_is_renamed_cancelled_resumed_and_deleted(anna: httpx.Client) -> None:
    job = fit(anna, 1).json()["id"]
    act = lambda action, values=None: anna.post(f"/api/jobs/{job}/{action}", json=values or {})  # noqa: E731
    assert act("rename", {"title": "Chair"}).json()["title"] == "Chair"
    assert act("delete").status_code == 409
    assert act("cancel").json()["state"] == "cancelled"
    assert act("resume").json()["state"] in ("queued", "running")
    assert act("cancel").json()["state"] == "cancelled"
    assert act("delete").json() == {} and anna.get(f"/api/jobs/{job}").status_code == 404


def test_same_key_submits_once(anna: httpx.Client) -> None:
    first, second = fit(anna, key="press"), fit(anna, key="press")
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json()["id"] == second.json()["id"] and len(anna.get("/api/jobs").json()["jobs"]) == 1


def test_photos_are_taken_in_and_described(anna: httpx.Client) -> None:
    answer = sent(anna, ("room.zip", zipped(tiny_capture())))
    assert answer.status_code == 201, answer.text
    found = answer.json()
    report = found["result"]["report"]
    assert found["kind"] == "upload" and found["result"]["kind"] == "capture" and report["images"] == 11
    assert len(report["cameras"]) == 11 and set(report["cameras"][0]) >= {"camera_to_world", "focal", "split"}
    assert Image.open(io.BytesIO(anna.get(f"/files/{found['id']}/preview.jpg").content)).size == (48, 48)
    assert anna.get("/api/uploads").json()["uploads"][0]["id"] == found["id"]


def test_folder_of_photos_is_taken_in(anna: httpx.Client) -> None:
    root = tiny_capture()
    files = [(p.relative_to(root.parent).as_posix(), p.read_bytes()) for p in sorted(root.rglob("*")) if p.is_file()]
    answer = sent(anna, *files)
    assert answer.status_code == 201, answer.text
    assert answer.json()["result"]["kind"] == "capture" and answer.json()["title"] == "capture"


def test_mesh_and_field_are_taken_in_and_looked_at(anna: httpx.Client) -> None:
    corner = b"v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n"
    mesh = sent(anna, ("corner.obj", corner)).json()
    assert mesh["result"]["report"]["watertight"] and mesh["result"]["report"]["faces"] == 4
    assert anna.get(f"/files/{mesh['id']}/preview.glb").content[:4] == b"glTF"
    field = sent(anna, ("chair.safetensors", (tiny_run() / "field.safetensors").read_bytes())).json()
    assert field["result"]["report"]["backend"] == "hash"
    about = anna.get(f"/api/fields/{field['id']}").json()
    assert about["kind"] == "density" and set(about["viewpoint"]) >= {"centre", "up", "distance", "fov"}
    look = {"field": field["id"], "camera_to_world": POSE, "fov": 40.0, "width": 64, "height": 48, "mode": "depth"}
    for quality in ("coarse", "fine"):
        picture = anna.post("/api/look", json={**look, "quality": quality, "view": "v", "sequence": 1})
        assert picture.status_code == 200, picture.text
        assert Image.open(io.BytesIO(picture.content)).width <= 64 and picture.headers["x-milliseconds"].isdigit()
    assert anna.post("/api/look", json={**look, "mode": "x"}).status_code == 422
    assert anna.post("/api/look", json={**look, "field": mesh["id"]}).status_code == 422


def test_what_is_no_capture_is_refused_with_a_sentence(anna: httpx.Client) -> None:
    answer = sent(anna, ("notes.zip", zipped(Path(__file__).parent / "__none__") or b"PK"))
    assert answer.status_code == 422 and answer.json()["error"]["code"].startswith("E-ZIP")
    answer = sent(anna, ("notes.txt", b"hello"))
    assert answer.status_code == 422 and answer.json()["error"]["code"] == "E-DATA-KIND"
    assert anna.get("/api/jobs").json()["jobs"] == []


def test_choices_name_what_the_program_has(anna: httpx.Client) -> None:
    found = anna.get("/api/choices").json()
    assert sorted(found["backends"]) == sorted(BACKENDS) and "rooms-tiny" in found["models"]
    assert found["kinds"]["fit"]["properties"]["steps"]


def test_page_and_assets_are_served(anna: httpx.Client) -> None:
    page = anna.get("/")
    assert page.status_code == 200 and "gradio" in page.text
    assert f"{assets.address()}/" in page.text
    script = anna.get(f"{assets.address()}/boot.js")
    assert (
        script.headers["content-type"].startswith("text/javascript") and "immutable" in script.headers["cache-control"]
    )
    assert anna.get(f"{assets.address()}/../ui.py").status_code == 404


def test_gradio_client_is_one_owner_and_does_the_same(live: Live) -> None:
    from gradio_client import Client

    client = Client(live.address, verbose=False)
    job = client.predict("fit", {"source": "sample", "seed": 0}, "key", api_name="/submit")
    assert job["state"] == "queued" and client.predict(job["id"], api_name="/job")["id"] == job["id"]
    assert [found["id"] for found in client.predict(api_name="/jobs")] == [job["id"]]
    with pytest.raises(Exception, match="E-WEB-FIELD"):
        client.predict("fit", {"source": "sample", "seed": -1}, "", api_name="/submit")
    other = Client(live.address, verbose=False)
    assert other.predict(api_name="/jobs") == []
    client.close()
    other.close()


def test_scene_of_a_job_that_made_none_yet_is_empty(anna: httpx.Client) -> None:
    job = anna.post("/api/jobs", json={"kind": "generate", "parameters": {"size": [1, 1]}}).json()["id"]
    assert anna.get(f"/api/scenes/{job}").json()["blocks"] == []
    assert anna.get(f"/api/scenes/{fit(anna).json()['id']}").status_code == 404


def test_answers_leave_at_once() -> None:
    """Asyncio switches the delay of small packets off where it sees that a socket is one of TCP: 40 ms an answer."""
    with listen(Address(port=0)) as listening:
        assert listening.proto == socket.IPPROTO_TCP


def test_port_in_use_gives_way_to_the_next() -> None:
    with listen(Address(port=0)) as first:
        taken = first.getsockname()[1]
        with listen(Address(port=taken)) as second:
            assert second.getsockname()[1] in range(taken + 1, taken + 20)


def test_public_address_needs_a_word() -> None:
    with pytest.raises(UserError, match="E-USAGE-HOST"):
        check_address(Address(host="0.0.0.0"))
    check_address(Address(host="0.0.0.0", public=True))
    outcome = run("app", "--host", "0.0.0.0")
    assert outcome.code == 2 and "--i-know" in outcome.err


def test_state_folder_has_one_server(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(UserError, match="E-ENV-LOCK"), locked(tmp_path):
        pass


def test_command_serves_without_torch_and_ends_by_a_signal(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "app", "app", "--port", "0", "--state", str(tmp_path / "state")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        address = process.stdout.readline().split()[1]
        until(lambda: _answers(address))
        assert "libtorch" not in Path(f"/proc/{process.pid}/maps").read_text()
        process.terminate()
        assert process.wait(PATIENCE) in (0, -15)
        assert "Traceback" not in process.stderr.read()


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/api/jobs", timeout=PATIENCE).json() == {"jobs": [], "used": 0}
    except httpx.TransportError:
        return False


def test_places_of_this_machine_are_taken_out_of_texts() -> None:
    assert without_places("error: /home/anna/state/x.png:3: got 1/2") == "error: x.png:3: got 1/2"
    assert without_places("a/b and <b>/c") == "a/b and <b>/c"


def test_limits_are_plain_numbers() -> None:
    assert all(isinstance(getattr(Limits(), field.name), int | float) for field in fields(Limits))
    assert json.dumps(vars(Limits()))


def test_head_that_never_ends_is_cut(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.web.patience.HEAD_SECONDS", 0.3)
    assert live.raw(b"GET /api/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ") == b""
    assert live.raw(b"") == b""
