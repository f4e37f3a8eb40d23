"""Generated programs on their tests: what passes, what cannot escape, pass@k."""

from __future__ import annotations

import itertools
import math
import os
import socket
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from weitiao.metrics.code import CodeScorer, Tests, code_of, judged, pass_at_k
from weitiao.metrics.sandbox import run_program, run_programs


def landlock_is_there():
    import ctypes

    return sys.platform == "linux" and ctypes.CDLL(None).syscall(444, None, 0, 1) > 0


linux = pytest.mark.skipif(not landlock_is_there(), reason="this kernel has no Landlock, or is not Linux")
BOTH = pytest.mark.parametrize("kernel", [pytest.param(True, marks=linux), False], ids=["kernel", "python"])


@pytest.fixture(autouse=True)
def nothing_left_behind(tmp_path_factory, monkeypatch):
    """No process and no folder of ours outlives a test."""
    folder = tmp_path_factory.mktemp("programs")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield
    assert not list(folder.iterdir())
    assert not [(state, command) for state, command in children() if state == "Z" or "confined.py" in command]


def children():
    """Yield state (Z: a zombie) and command line of every process that is this one's child; on Linux."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            state, parent = (process / "stat").read_text().rpartition(")")[2].split()[:2]
            if int(parent) == os.getpid():
                yield state, (process / "cmdline").read_text()
        except OSError:  # gone by now
            continue


@BOTH
def test_what_passes(kernel):
    outcome = run_program("def double(x): return 2 * x\nassert double(2) == 4\nprint('done')", kernel=kernel)
    assert outcome.passed
    assert outcome.reason == ""
    assert bool(outcome.notes) is not kernel


@linux
def test_on_linux_the_kernel_guards_everything():
    assert run_program("").notes == ()


def test_without_the_kernel_the_notes_say_so():
    notes = " ".join(run_program("", kernel=False).notes)
    for what in ("network", "processes", "files"):
        assert what in notes


@BOTH
@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("def f(x): return x\nassert f(3) == 4", "AssertionError: assert f(3) == 4"),
        ("def f(:", "SyntaxError: invalid syntax (program.py, line 1)"),
        ("raise ValueError('no\\n such')", "ValueError: no such"),
        ("import sys\nsys.exit(0)\nassert False", "Exit: it ended before its tests were done"),
        ("import os\nos._exit(0)", "Exit: it ended before its tests were done"),
        ("def f(): return f()\nf()", "RecursionError: maximum recursion depth exceeded"),
        ("input()", "EOFError: EOF when reading a line"),
        ("class E(Exception):\n    def __str__(self): raise KeyError\nraise E", "E"),
    ],
)
def test_what_fails_and_why(source, reason, kernel):
    outcome = run_program(source, kernel=kernel)
    assert (outcome.passed, outcome.reason) == (False, reason)


@BOTH
def test_a_program_cannot_say_that_it_passed(kernel):
    source = """
import json, os
for file in range(64):
    try:
        os.write(file, json.dumps({"token": "", "failure": ""}).encode() + b"\\n")
    except OSError:
        pass
print('{"failure": ""}')
os._exit(0)
"""
    assert not run_program(source, kernel=kernel).passed


@BOTH
def test_an_endless_loop_is_stopped(kernel):
    start = time.monotonic()
    outcome = run_program("while True: pass", seconds=0.5, kernel=kernel)
    assert outcome.reason == "Timeout: not done after 0.5 s"
    assert time.monotonic() - start < 5


@BOTH
def test_an_endless_sleep_that_ignores_signals_is_stopped(kernel):
    source = "import signal, time\nfor s in (2, 15): signal.signal(s, signal.SIG_IGN)\ntime.sleep(60)"
    assert run_program(source, seconds=0.5, kernel=kernel).reason.startswith("Timeout")


@BOTH
@pytest.mark.parametrize(
    "source",
    [
        "import os\nwhile True: os.fork()",
        "import subprocess\nsubprocess.run(['true'])",
        "import os\nos.system('true') and 1/0",
        "import os\nos.execv('/bin/true', ['true'])",
        "import multiprocessing as m\nm.get_context('fork').Process(target=print).start()",
    ],
)
def test_no_new_processes(source, kernel):
    assert not run_program(source, seconds=5, kernel=kernel).passed


@linux
def test_threads_are_no_processes():
    source = "import threading\nseen = []\nt = threading.Thread(target=seen.append, args=(1,))\nt.start()\nt.join()\n"
    source += "assert seen"
    assert run_program(source).passed


@linux
def test_a_raw_system_call_makes_no_process():
    source = "import ctypes\nassert ctypes.CDLL(None).fork() != -1"
    assert run_program(source).reason == "AssertionError: assert ctypes.CDLL(None).fork() != -1"


@linux
def test_memory_is_limited():
    source = "held = []\nwhile True: held.append(bytearray(10_000_000))"
    start = time.monotonic()
    outcome = run_program(source, seconds=30, memory_bytes=200 << 20)
    assert outcome.reason.startswith("MemoryError")
    assert time.monotonic() - start < 20


@BOTH
def test_no_network(kernel):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        port = server.getsockname()[1]
        source = f"import socket\nsocket.create_connection(('127.0.0.1', {port}), 2)"
        assert run_program(source, kernel=kernel).reason.startswith("PermissionError")
        with pytest.raises(TimeoutError):
            server.accept()


@BOTH
def test_no_secrets_of_the_environment(kernel, monkeypatch):
    monkeypatch.setenv("WEITIAO_SECRET", "hunter2")
    assert run_program("import os\nassert dict(os.environ) == {}", kernel=kernel).passed
    assert not run_program("import os\nos.environ['WEITIAO_SECRET']", kernel=kernel).passed


@linux
@pytest.mark.parametrize("path", ["f'/proc/{os.getppid()}/environ'", "'/etc/passwd'", repr(__file__)])
def test_no_reading_of_other_files(path, monkeypatch):
    monkeypatch.setenv("WEITIAO_SECRET", "hunter2")
    assert run_program(f"import os\nopen({path}).read()").reason.startswith("PermissionError")


@BOTH
@pytest.mark.parametrize(
    "how",
    [
        "open({}, 'w')",
        "os.remove({})",
        "os.mkdir({} + 'd')",
        "os.chmod({}, 0)",
        "os.truncate({}, 0)",
        "os.rename({}, 'x')",
        "os.symlink('x', {} + 's')",
    ],
)
def test_no_writing_outside_its_folder(how, kernel, tmp_path):
    kept = tmp_path / "kept.txt"
    kept.write_text("mine")
    outcome = run_program(f"import os\n{how.format(repr(str(kept)))}", kernel=kernel)
    assert outcome.reason.startswith("PermissionError")
    assert [path.name for path in tmp_path.iterdir()] == ["kept.txt"]
    assert kept.read_text() == "mine"
    assert kept.stat().st_mode & 0o600


@BOTH
def test_writing_in_its_folder(kernel):
    source = """
import os
open('a', 'w').write('x')
os.mkdir('d')
os.rename('a', 'd/b')
assert open('d/b').read() == 'x'
os.remove('d/b')
"""
    assert run_program(source, kernel=kernel).passed


@linux
def test_files_stay_small():
    assert run_program("f = open('x', 'wb')\nwhile True: f.write(b'0' * 1_000_000)").reason.startswith("OSError")


@linux
def test_others_get_no_signal():
    assert run_program("import os\nos.kill(os.getppid(), 0)").reason.startswith("PermissionError")


def test_a_flood_of_output_is_dropped():
    assert run_program("for i in range(20_000): print('x' * 1000)").passed
    assert run_program("while True: print('x' * 1000)", seconds=0.5).reason.startswith("Timeout")


def test_folders_nested_deeper_than_python_walks_are_removed():
    assert run_program("import os\nfor i in range(1500): os.mkdir('d'); os.chdir('d')", seconds=30).passed


def test_the_order_of_sets_does_not_change():
    source = "assert ''.join({'alpha', 'beta', 'gamma', 'delta'}) == %r"
    first = run_program("raise ValueError(''.join({'alpha', 'beta', 'gamma', 'delta'}))").reason.split(": ")[1]
    assert all(outcome.passed for outcome in run_programs([source % first] * 4))


def test_the_standard_library_works_and_nothing_else():
    source = "import asyncio, decimal, heapq, sqlite3\nasync def f(): return 3\nassert asyncio.run(f()) == 3"
    assert run_program(source).passed
    assert run_program("import numpy").reason == "ModuleNotFoundError: No module named 'numpy'"


def test_classes_know_their_module():
    source = (
        "from __future__ import annotations\nfrom dataclasses import dataclass\nimport pickle\n"
        "@dataclass\nclass A:\n    x: int = 1\nassert pickle.loads(pickle.dumps(A())).x == 1\n"
        "assert __name__ != '__main__'"
    )
    assert run_program(source).passed


def test_programs_run_side_by_side_and_keep_their_order():
    start = time.monotonic()
    sources = ["import time\ntime.sleep(1)", "assert 0", "import time\ntime.sleep(1)", ""]
    assert [outcome.passed for outcome in run_programs(sources, workers=4)] == [True, False, True, True]
    assert time.monotonic() - start < 2


@pytest.mark.parametrize(("n", "c", "k"), [(5, 0, 1), (5, 5, 3), (10, 3, 1), (10, 3, 5), (6, 2, 5), (4, 1, 4)])
def test_pass_at_k_counts_the_samples_of_k(n, c, k):
    drawn = list(itertools.combinations([True] * c + [False] * (n - c), k))
    assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, drawn)) / len(drawn))


def test_pass_at_k_is_exact_for_many_samples():
    assert pass_at_k(200, 7, 100) == pytest.approx(1 - math.comb(193, 100) / math.comb(200, 100), rel=1e-12)
    for wrong in ((3, 4, 1), (3, 1, 4), (3, 1, 0), (3, -1, 1)):
        with pytest.raises(ValueError, match="not defined"):
            pass_at_k(*wrong)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("x = 1", "x = 1"),
        ("Here it is:\n```python\nx = 1\n```\nGood luck.", "x = 1\n"),
        ("```\nx = 1\n```", "x = 1\n"),
        ("```bash\npip\n```\n```py\nx = 2\n```", "x = 2\n"),
        ("```python\nx = 3", "x = 3"),
    ],
)
def test_code_of_an_answer(text, code):
    assert code_of(text) == code


def test_the_tests_of_an_example():
    tests = Tests(
        ("assert double(2) == 4", "assert sqrt(4) == 2"), setup="from math import sqrt", prompt="def double(x):\n"
    )
    outcomes = judged([["    return x * 2", "    return x ** 2"], ["    return 1"]], [tests, tests])
    assert [[o.passed for o in each] for each in outcomes] == [[True, True], [False]]
    assert outcomes[1][0].reason == "AssertionError: assert double(2) == 4"


def code_scorer(**options):
    return CodeScorer(lambda example: Tests(tuple(example["tests"])), given=lambda example: example["text"], **options)


ADD = {"text": "add", "tests": ["assert add(1, 2) == 3"]}
RIGHT, WRONG = "def add(a, b): return a + b", "def add(a, b): return a - b"


def test_code_scorer_runs_what_was_not_run():
    scorer = code_scorer(k=(2, 3))
    predictions = [{"texts": [RIGHT, WRONG, "def add("], "loss": 2.0, "tokens": 4}, {"texts": [WRONG] * 3}]
    scorer.add([ADD, ADD], predictions)
    assert scorer.compute() == pytest.approx(
        {"pass_at_1": 1 / 6, "pass_at_2": 1 / 3, "pass_at_3": 0.5, "perplexity": math.exp(0.5), "loss": 0.5}
    )
    assert scorer.compute(np.array([0, 0]))["pass_at_1"] == pytest.approx(1 / 3)
    assert scorer.outcomes() == pytest.approx([1 / 3, 0.0])
    details = scorer.scores().details
    assert details["tables"][0]["rows"] == [["AssertionError", 4], ["SyntaxError", 1]]
    assert (scorer.scores().primary, scorer.scores().greater_is_better) == ("pass_at_1", True)


def test_code_scorer_believes_what_was_run():
    scorer = code_scorer()
    scorer.add([ADD, ADD], [{"texts": [WRONG], "passed": [True]}, {"text": WRONG, "passed": [False]}])
    assert scorer.compute() == {"pass_at_1": 0.5}


def test_pass_at_k_needs_k_samples_of_each():
    scorer = code_scorer(k=(2,))
    scorer.add([ADD, ADD], [{"passed": [True, False]}, {"passed": [False]}])
    assert scorer.compute() == {"pass_at_1": 0.25}


def test_code_scorer_without_programs():
    scorer = code_scorer()
    scorer.add([ADD], [{"loss": 1.0, "tokens": 1}])
    assert list(scorer.compute()) == ["perplexity", "loss"]


def test_a_telling():
    told = code_scorer().tell(ADD, {"texts": [RIGHT, WRONG]})
    assert (told.given, told.expected, told.said, told.right) == ("add", ADD["tests"], [RIGHT, WRONG], 0.5)
