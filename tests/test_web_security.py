"""What strangers, foreign pages and malicious files try, and that it leads nowhere."""

from __future__ import annotations

import asyncio
import io
import os
import stat
import time
import zipfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import Response
from web_server import QUICK, Live, serving, until

from app.web.guard import Guard
from app.web.hosts import LOOPBACK, Hosts
from app.web.limits import MIB, Limits
from app.web.names import safe_parts
from app.web.owner import Owners, hashed
from app.web.places import Places
from app.web.rates import Rates
from app.web.reading import look
from app.web.unpack import unpack
from fields.errors import UserError

CANARY = "canary-7f3a"
JSON = {"content-type": "application/json"}
HEADERS = {
    "content-security-policy": "default-src 'self'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "SAMEORIGIN",
    "referrer-policy": "same-origin",
}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    root = tmp_path_factory.mktemp("state")
    (root / "secret.txt").write_text(CANARY)
    with serving(root, per_owner=50, waiting=500, file=200_000, upload=MIB, parts=20) as found:
        yield found


@pytest.fixture(scope="module")
def anna(live: Live) -> Iterator[httpx.Client]:
    with live.visitor() as client:
        yield client


@pytest.fixture(scope="module")
def job(live: Live, anna: httpx.Client) -> str:
    """A finished job of Anna's, with a canary beside its files."""
    found = anna.post("/api/jobs", json={"kind": "fit", "parameters": {"source": "sample"}}).json()["id"]
    until(lambda: anna.get(f"/api/jobs/{found}").json()["state"] == "done")
    owner = live.service.store.get(found).owner
    (live.service.places.folder(owner, found) / "log.txt").write_text(CANARY)
    return found


def guarded(folder: Path, **limits: Any) -> Guard:
    """The guard alone, before an application that only reads the body."""

    async def read(scope: Any, receive: Any, send: Any) -> None:
        await Request(scope, receive).body()
        await Response()(scope, receive, send)

    return Guard(read, Owners.kept_in(folder), Hosts(LOOPBACK, False), replace(QUICK, **limits))


def asked(app: Guard, requests: list[dict[str, Any]]) -> list[httpx.Response]:
    """Answers to requests of one visitor, one after the other."""

    async def ask() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            return [await client.post("/api/jobs", **request) for request in requests]

    return asyncio.run(ask())


# ---------------------------------------------------------------------------------------------- table H: requests
def test_wrong_content_type_is_415(anna: httpx.Client) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        assert anna.post("/api/jobs", content=b"{}", headers={"content-type": kind}).status_code == 415
    assert anna.post("/api/uploads", content=b"{}", headers=JSON).status_code == 415


@pytest.mark.parametrize("text", ["{", "[1,]", "\xff\xfe", "{'kind': 1}", ""])
def test_invalid_json_is_400(anna: httpx.Client, text: str) -> None:
    status = anna.post("/api/jobs", content=text.encode("latin-1"), headers=JSON).status_code
    assert status == (400 if text else 422)


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('{"kind": "fit", "parameters": {"source": "sample"}, "admin": true}', "admin"),
        ('{"kind": 7, "parameters": {}}', "kind"),
        ('{"kind": "fit", "parameters": {"source": "sample", "seed": -1}}', "seed"),
        ('{"kind": "shell", "parameters": {}}', "kind"),
        ('{"parameters": {}}', "kind"),
        ("[]", "body"),
        ('{"kind": "fit", "parameters": {"source": "sample", "seconds": NaN}}', "body"),
        ('{"kind": "fit", "parameters": {"source": "sample", "seconds": 1e999}}', "body"),
        ('{"kind": "fit", "kind": "fit"}', "body"),
        ("[" * 1000, "body"),
    ],
)
def test_wrong_values_are_422_and_named(anna: httpx.Client, text: str, where: str) -> None:
    answer = anna.post("/api/jobs", content=text, headers=JSON)
    assert answer.status_code == 422 and answer.json()["error"]["where"] == where


def test_large_body_is_413(live: Live, anna: httpx.Client) -> None:
    assert anna.post("/api/jobs", content=b" " * (MIB + 1), headers=JSON).status_code == 413
    chunks = (b" " * 65_536 for _ in range(17))
    assert anna.post("/api/jobs", content=chunks, headers=JSON).status_code == 413
    assert anna.post("/gradio_api/queue/join", content=b" " * (MIB + 1), headers=JSON).status_code == 413
    announced = b"POST /api/jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99999999999\r\n\r\n"
    assert live.raw(announced).startswith(b"HTTP/1.1 413")


def test_large_file_is_413_and_gone(live: Live, anna: httpx.Client) -> None:
    before = set(live.service.places.root.rglob("*"))
    for content in (b"x" * 200_001, b"x" * 2 * MIB):
        assert anna.post("/api/uploads", files={"files": ("a.obj", content)}).status_code == 413
    assert set(live.service.places.root.rglob("*")) == before


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # a part without end stays open
def test_many_parts_and_endless_forms_are_refused(live: Live, anna: httpx.Client) -> None:
    files = [("files", (f"{n}.png", b"x")) for n in range(21)]
    assert anna.post("/api/uploads", files=files).status_code == 400
    start = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a.obj"\r\n\r\nv 0 0 0'
    kind = {"content-type": "multipart/form-data; boundary=x"}
    assert anna.post("/api/uploads", content=start, headers=kind).status_code in (400, 422)
    assert anna.post("/api/uploads", content=b"", headers=kind).status_code in (400, 422)
    assert live.service.store.get  # still there


def test_slow_body_is_cut(tmp_path: Path) -> None:
    async def trickle() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.Event().wait()

    app = guarded(tmp_path, body_seconds=0.1)
    assert [a.status_code for a in asked(app, [{"content": trickle()}, {"content": b"{}"}])] == [408, 200]


def test_unknown_and_foreign_jobs_look_the_same(live: Live, anna: httpx.Client, job: str) -> None:
    with live.visitor() as bert:
        paths = (f"/api/jobs/{job}", "/api/jobs/" + "x" * 22)
        answers = [bert.get(path) for path in paths]
        assert {answer.status_code for answer in answers} == {404} and answers[0].content == answers[1].content
        for action in ("cancel", "resume", "delete"):
            assert bert.post(f"/api/jobs/{job}/{action}", json={}).status_code == 404
        assert bert.post(f"/api/jobs/{job}/rename", json={"title": "mine"}).status_code == 404
        assert bert.get(f"/files/{job}/made.txt").content == bert.get(f"/files/{'x' * 22}/made.txt").content
        assert bert.get(f"/api/jobs/{job}/archive").status_code == 404
        values = {"kind": "mesh", "parameters": {"field": job}}
        assert bert.post("/api/jobs", json=values).status_code == 404
        times: dict[str, list[float]] = {path: [] for path in paths}
        for _ in range(40):
            for path in paths:
                begin = time.perf_counter()
                bert.get(path)
                times[path].append(time.perf_counter() - begin)
        assert abs(min(times[paths[0]]) - min(times[paths[1]])) < 0.005


def test_methods_ranges_and_head(anna: httpx.Client, job: str) -> None:
    for method in ("PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"):
        assert anna.request(method, "/api/jobs").status_code == 405
    assert anna.post(f"/files/{job}/made.txt").status_code in (404, 405)
    head = anna.head(f"/files/{job}/made.txt")
    assert head.status_code == 200 and head.content == b"" and head.headers["content-length"] == "4"
    expected = {"bytes=1-2": (206, b"ad"), "bytes=-2": (206, b"de"), "bytes=9-": (416, None), "bytes=-0": (416, None),
                "bytes=0-99999999999999999999999": (206, b"made"), "bytes=a-b": (400, None), "bytes=3-1": (400, None),
                "bytes=0-1,1-2,2-3": (200, b"made"), "bytes=--1": (400, None)}  # fmt: skip
    for asked, (status, content) in expected.items():
        answer = anna.get(f"/files/{job}/made.txt", headers={"range": asked})
        assert answer.status_code in (status, 416, 400)[: 1 if content else 3], asked
        assert content is None or answer.content == content


# --------------------------------------------------------------------------------------------------------- paths
TARGETS = ("secret.txt", "log.txt", "jobs.sqlite", "secret", "etc/passwd")
STEPS = ("../", "..\\", "%2e%2e/", "%2e%2e%2f", "..%2f", "..%5c", "%252e%252e%252f", "..%c0%af", "%c0%ae%c0%ae/",
         "....//", "..;/", ".%00./", "./../", "%2e./", "..%00/", "\\..\\", "/", "//", "%2f", "file:///")  # fmt: skip
ROUTES = ("/files/{job}/", "/gradio_api/file=", "/static/", "{assets}/", "/assets/", "/svelte/", "/api/jobs/{job}/")


def test_no_spelling_of_a_path_leads_out(live: Live, job: str) -> None:
    from app.web import assets

    cookie = live.service.store.get(job).owner
    assert cookie
    tried = 0
    for route in ROUTES:
        base = route.format(job=job, assets=assets.address())
        for step in STEPS:
            for target in TARGETS[: 2 if tried > 200 else None]:
                for depth in (1, 4):
                    path = base + step * depth + target
                    request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
                    answer = live.raw(request.encode("latin-1"))
                    status = answer[9:12]
                    assert CANARY.encode() not in answer and b"SQLite" not in answer and b"root:" not in answer, path
                    assert status in (b"400", b"403", b"404", b"405", b"307"), (path, answer[:80])
                    tried += 1
    assert tried >= 200


@pytest.mark.parametrize(
    "path",
    [
        "/files/{job}/../log.txt", "/files/{job}/.hidden", "/files/{job}/state-000000001.safetensors",
        "/files/{job}/made.txt%00.png", "/files/{job}//made.txt", "/files/{job}/made.txt/", "/files/{job}/",
        "/files//{job}/made.txt", "/files/{job}/%2e%2e/log.txt", "/files/{job}/..%5clog.txt",
    ],
)  # fmt: skip
def test_owner_too_gets_only_the_jobs_own_files(anna: httpx.Client, job: str, path: str) -> None:
    answer = anna.send(anna.build_request("GET", anna.base_url.join(path.format(job=job))))
    assert answer.status_code == 404 and CANARY not in answer.text


def test_links_in_a_jobs_folder_are_not_followed(tmp_path: Path) -> None:
    places = Places(tmp_path)
    out = places.out("a", "b")
    out.mkdir(parents=True)
    secret = tmp_path / "secret.txt"
    secret.write_text(CANARY)
    (out / "soft").symlink_to(secret)
    (out / "folder").symlink_to(tmp_path)
    os.link(secret, out / "hard")
    for name in ("soft", "hard", "folder/secret.txt", "folder"):
        with pytest.raises(UserError, match="E-WEB-NOTFOUND"):
            places.file("a", "b", name)
    assert places.listed("a", "b") == [] and places.all_files("a", "b") == []


@given(st.text(max_size=40))
def test_file_of_any_name_lies_inside(name: str) -> None:
    root = Path("/tmp/nowhere-fieldscape")
    try:
        found = Places(root).file("a", "b", name)
    except UserError as error:
        assert error.code == "E-WEB-NOTFOUND"
    else:
        assert found.resolve().is_relative_to(root)


@given(st.text(alphabet="ab./\\:\0~ \n", max_size=20))
def test_safe_names_stay_below_their_folder(name: str) -> None:
    try:
        parts = safe_parts(name)
    except UserError:
        return
    root = Path("/tmp/nowhere")
    assert root.joinpath(*parts).resolve().is_relative_to(root) and all(not p.startswith(".") for p in parts)


def test_forged_file_data_is_refused(live: Live, anna: httpx.Client, job: str) -> None:
    owner = live.service.store.get(job).owner
    outside = [str(live.service.places.root / "secret.txt"), "/etc/passwd", "pyproject.toml", "file:///etc/passwd",
               f"jobs/{owner}/{job}/log.txt", "http://127.0.0.1:1/x", "http://169.254.169.254/", "http://0x7f000001/",
               "http://[::1]/x", "\\\\host\\share"]  # fmt: skip
    for path in outside:
        data = {"path": path, "meta": {"_type": "gradio.FileData"}, "url": path}
        for values in (path, data):
            answer = anna.post("/api/jobs", json={"kind": "fit", "parameters": {"source": values}})
            assert answer.status_code == 422, values
        for route in ("/gradio_api/run/submit", "/gradio_api/call/submit"):
            answer = anna.post(route, json={"data": ["fit", {"source": data}, ""], "session_hash": "x"})
            assert CANARY not in answer.text and "root:" not in answer.text
        assert anna.get(f"/gradio_api/file={path}").status_code == 404


@pytest.mark.parametrize(
    "path",
    ["/gradio_api/upload", "/gradio_api/proxy=http://127.0.0.1/", "/gradio_api/stream/x", "/gradio_api/file=a.png",
     "/monitoring", "/docs", "/openapi.json", "/redoc", "/gradio_api/openapi.json", "/login", "/gradio_api/vibe-code",
     "/gradio_api/deep_link", "/gradio_api/runs", "/gradio_api/profiling/traces", "/custom_component/a/b/c/d"],
)  # fmt: skip
def test_shared_parts_of_gradio_are_closed(anna: httpx.Client, path: str) -> None:
    assert anna.get(path).status_code == 404 and anna.post(path, json={}).status_code == 404


# ---------------------------------------------------------------------------------------------- hosts and headers
@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "evil@127.0.0.1", "localhost:1:2",
                                  "169.254.169.254", "[::2]", "2130706433"])  # fmt: skip
def test_foreign_hosts_are_refused(live: Live, host: str) -> None:
    answer = live.raw(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    assert answer[9:12] in (b"421", b"400")


def test_public_servers_answer_to_addresses_and_named_hosts() -> None:
    hosts = Hosts(("127.0.0.1", "lab.example"), public=True)
    assert all(map(hosts.admits, ("10.0.0.7:7860", "lab.example", "LAB.example:80", "[fe80::1]:1")))
    assert not hosts.admits("evil.example")


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:1", "https://127.0.0.1.evil.com",
                                    "file://", "http://localhost"])  # fmt: skip
def test_foreign_origins_are_refused(anna: httpx.Client, job: str, origin: str) -> None:
    for path in ("/api/jobs", f"/api/jobs/{job}/delete", "/api/uploads", "/gradio_api/queue/join", "/api/look"):
        answer = anna.post(path, json={}, headers={"origin": origin})
        assert answer.status_code == 403 and "access-control-allow-origin" not in answer.headers
    site = anna.post("/api/jobs", json={}, headers={"sec-fetch-site": "cross-site"})
    assert site.status_code == 403


def test_own_origin_is_welcome(live: Live, anna: httpx.Client) -> None:
    assert anna.post("/api/jobs", json={}, headers={"origin": live.address}).status_code == 422


def test_every_answer_has_the_security_headers(live: Live, anna: httpx.Client, job: str) -> None:
    paths = ("/", "/api/jobs", f"/files/{job}/made.txt", "/nothing", "/api/jobs/x", "/config", "/gradio_api/info",
             "/gradio_api/file=x", "/theme.css", "/%00")  # fmt: skip
    for path in paths:
        answer = anna.get(path)
        for name, value in HEADERS.items():
            assert answer.headers[name].startswith(value), (path, name)
        assert "server" not in answer.headers and "access-control-allow-origin" not in answer.headers
        policy = answer.headers["content-security-policy"]
        assert "unsafe-eval" not in policy and "http" not in policy and "*" not in policy
    assert anna.put("/").headers["x-content-type-options"] == "nosniff"


def test_cookie_cannot_be_forged_or_read_by_scripts(live: Live, job: str) -> None:
    with httpx.Client(base_url=live.address) as client:
        cookie = client.get("/api/jobs").headers["set-cookie"]
    assert all(part in cookie for part in ("HttpOnly", "SameSite=Strict", "Path=/"))
    value = cookie.split("=", 1)[1].split(";")[0]
    token, signature = value.split(".")
    assert len(token) == 22
    for forged in (token, f"{token}.", f"{token}.{'0' * 64}", f"x{token[1:]}.{signature}", "a.b", "", "ü.x"):
        assert Owners.kept_in(live.service.places.root).owner_in(f"fieldscape={forged}") is None
    assert Owners.kept_in(live.service.places.root).owner_in(f"a=b; fieldscape={value}; c=d") == hashed(token)
    owner = live.service.store.get(job).owner
    with httpx.Client(base_url=live.address, headers={"x-fieldscape-owner": owner}) as client:
        assert client.get(f"/api/jobs/{job}").status_code == 404
    assert stat.S_IMODE((live.service.places.root / "secret").stat().st_mode) == 0o600


def test_requests_have_a_rate() -> None:
    now = [0.0]
    rates = Rates(10.0, 5.0, lambda: now[0])
    assert [rates.admits("a") for _ in range(6)] == [True] * 5 + [False]
    assert rates.admits("b")
    now[0] += 0.1
    assert rates.admits("a") and not rates.admits("a")
    for n in range(11_000):
        rates.admits(str(n))
    assert len(rates._buckets) <= 10_001


def test_too_many_requests_are_429(tmp_path: Path) -> None:
    app = guarded(tmp_path, requests_per_second=1e-3, request_burst=5)
    assert [answer.status_code for answer in asked(app, [{}] * 8)] == [200] * 6 + [429] * 2  # the first has no cookie


# ----------------------------------------------------------------------------------------------- scripts in texts
PIECES = ("<script>{}</script>", "<img src=x onerror={}>", "<svg onload={}>", "'\"><script>{}</script>",
          "<iframe srcdoc='<script>{}</script>'>", "javascript:{}", "<a href=javascript:{}>x</a>", "{{{{{}}}}}",
          "${{{}}}", "</title><script>{}</script>", "<details open ontoggle={}>", "<body onload={}>", "`{}`",
          "\u202e<b onmouseover={}>", "<style>@import'{}'</style>")  # fmt: skip
PAYLOADS = [piece.format(code) for piece in PIECES for code in ("alert(1)", "fetch('//e')", "eval(name)", "top.x=1")]


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)


def test_texts_of_people_come_back_as_data_only(anna: httpx.Client, job: str) -> None:
    assert len(PAYLOADS) == 60
    for payload in PAYLOADS:
        answer = anna.post(f"/api/jobs/{job}/rename", json={"title": payload})
        assert answer.headers["content-type"] == "application/json"
        wrong = anna.post("/api/jobs", json={"kind": payload, "parameters": {payload: payload}})
        assert wrong.status_code == 422 and wrong.headers["content-type"] == "application/json"
        name = anna.post("/api/uploads", files={"files": (f"../{payload}", b"nothing")})
        assert name.status_code == 422 and name.headers["content-type"] == "application/json"
        missing = anna.get("/" + payload.replace("/", ""))
        tags = _Tags()
        tags.feed(missing.text)
        assert missing.headers["content-type"] == "application/json" or not tags.found
    page = anna.get("/").text
    assert not any(payload in page for payload in PAYLOADS)


def test_pages_that_are_sent_back_cannot_run(live: Live, anna: httpx.Client, job: str) -> None:
    owner = live.service.store.get(job).owner
    for name in ("evil.html", "evil.svg", "evil.xml", "evil.js"):
        (live.service.places.out(owner, job) / name).write_text("<script>alert(1)</script>")
        answer = anna.get(f"/files/{job}/{name}")
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["content-disposition"].startswith("attachment")


def test_errors_tell_nothing_of_the_machine(live: Live, anna: httpx.Client) -> None:
    broken = [("a.obj", b"v 1 2\n"), ("a.png", b"\x89PNG")]
    for file in broken:
        answer = anna.post("/api/uploads", files={"files": file})
        assert answer.status_code == 422, answer.text
        assert str(live.service.places.root) not in answer.text and "Traceback" not in answer.text
        assert "/tmp" not in answer.text and "site-packages" not in answer.text


# ------------------------------------------------------------------------------------------------------- archives
SMALL = Limits(expanded=20 * MIB, members=50)


def archive(tmp_path: Path, members: dict[str, bytes], mode: int = 0) -> Path:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            made.writestr(info, content, zipfile.ZIP_DEFLATED)
    return path


@pytest.mark.parametrize(
    ("members", "mode", "code"),
    [
        ({"../evil": b""}, 0, "E-PATH-ESCAPE"),
        ({"a/../../evil": b""}, 0, "E-PATH-ESCAPE"),
        ({"/etc/evil": b""}, 0, "E-PATH-ESCAPE"),
        ({"..\\evil": b""}, 0, "E-PATH-ESCAPE"),
        ({"C:\\evil": b""}, 0, "E-PATH-ESCAPE"),
        ({".ssh/keys": b""}, 0, "E-PATH-ESCAPE"),
        ({"link": b"/etc/passwd"}, stat.S_IFLNK | 0o777, "E-ZIP-LINK"),
        ({"device": b""}, stat.S_IFCHR, "E-ZIP-LINK"),
        ({"bomb": bytes(15 * MIB)}, 0, "E-LIMIT-ARCHIVE"),
        ({f"{n}": bytes(MIB) for n in range(21)}, 0, "E-LIMIT-ARCHIVE"),
        ({f"{n}": b"" for n in range(51)}, 0, "E-LIMIT-ARCHIVE"),
        ({"n" * 300: b""}, 0, "E-WEB-SIZE"),
        ({}, 0, "E-ZIP-BROKEN"),
    ],
)
def test_bad_archives_are_refused_and_write_nothing(
    tmp_path: Path, members: dict[str, bytes], mode: int, code: str
) -> None:
    with pytest.raises(UserError) as caught:
        unpack(archive(tmp_path, members, mode), tmp_path / "content", SMALL)
    assert caught.value.code == code and not (tmp_path / "content").exists()


def test_archive_that_lies_about_sizes_is_stopped(tmp_path: Path) -> None:
    path = archive(tmp_path, {"bomb": bytes(30 * MIB)})
    content = path.read_bytes()
    size = (30 * MIB).to_bytes(4, "little")
    assert content.count(size) == 2
    path.write_bytes(content.replace(size, (1000).to_bytes(4, "little")))
    with pytest.raises(UserError) as caught:
        unpack(path, tmp_path / "content", SMALL)
    assert caught.value.code in ("E-LIMIT-ARCHIVE", "E-ZIP-BROKEN")
    assert not list((tmp_path / "content").glob("*"))


def test_plain_archive_is_unpacked(tmp_path: Path) -> None:
    unpack(archive(tmp_path, {"a/b.png": b"x", "__MACOSX/a": b"", "c.json": b"{}"}), tmp_path / "content", SMALL)
    assert (tmp_path / "content/a/b.png").read_bytes() == b"x" and not (tmp_path / "content/__MACOSX").exists()


def _pickle() -> bytes:
    import pickle

    class Evil:
        def __reduce__(self) -> Any:
            return os.system, (f"touch /tmp/{CANARY}",)

    return pickle.dumps(Evil())


@pytest.mark.parametrize("name", ["m.safetensors", "m.pt", "m.glb", "m.png", "m.zip", "m.json"])
def test_pickles_are_never_opened(tmp_path: Path, name: str) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as made:
        made.writestr("archive/data.pkl", _pickle())
    for number, content in enumerate((_pickle(), stream.getvalue())):
        folder = tmp_path / str(number)
        (folder / "out").mkdir(parents=True)
        (folder / "out" / name).write_bytes(content)
        with pytest.raises(UserError):
            look(folder, Limits())
    assert not Path(f"/tmp/{CANARY}").exists()


def test_long_and_strange_names_are_refused(anna: httpx.Client) -> None:
    for name, statuses in (("n" * 9000 + ".obj", (400, 413)), ("../x.obj", (422,)), (".obj", (422,))):
        assert anna.post("/api/uploads", files={"files": (name, b"v 0 0 0")}).status_code in statuses
