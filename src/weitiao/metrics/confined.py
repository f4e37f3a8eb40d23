"""Runs one Python program, confined as far as the system allows. A script of its own, started by `sandbox.py`.

Reads ``request.json`` in its working folder; writes two lines of JSON to what was its standard output: ``weak``, a list
of what is not guarded by the system, before the program starts; then ``token`` (handed to it, so that a program cannot
pretend) and ``failure`` once the program has run to its end. Imports nothing of weitiao.
"""

# `pathlib` would add half to the time this takes to start.
# ruff: noqa: PTH107, PTH109, PTH112, PTH120, PTH123
from __future__ import annotations

import contextlib
import json
import os
import sys
import types
from collections.abc import Iterator
from typing import Any

NEW_USER, NEW_IPC, NEW_NETWORK, THREAD = 0x10000000, 0x08000000, 0x40000000, 0x00010000  # flags of clone(2)
LARGEST_FILE, OPEN_FILES = 16 << 20, 64
PROGRAM = "program.py"  # what it is called in messages


def main() -> None:
    """Confine this process, run the program, report, and end without running anything the program left behind."""
    with open("request.json", encoding="utf-8") as file:
        request = json.load(file)
    os.remove("request.json")
    report = os.dup(1)
    for stream, flags in ((0, os.O_RDONLY), (1, os.O_WRONLY), (2, os.O_WRONLY)):
        os.dup2(os.open(os.devnull, flags), stream)
    os.environ.clear()
    # kept here because the program may replace them
    write, leave = os.write, os._exit
    passed = line(token=request["token"], failure="")
    weak = confine(os.getcwd(), request["seconds"], request["memory"], bare=request["bare"])
    write(report, line(weak=weak))
    failure = run(request["source"])
    write(report, line(token=request["token"], failure=failure) if failure else passed)
    leave(0)


def line(**message: Any) -> bytes:
    """Return a message as a line of JSON."""
    return json.dumps(message).encode() + b"\n"


def run(source: str) -> str:
    """Run the program as a module of its own; return why it failed, in a line, or nothing."""
    module = types.ModuleType("program")
    sys.modules["program"], sys.argv = module, [PROGRAM]
    try:
        exec(compile(source, PROGRAM, "exec", dont_inherit=True), module.__dict__)
    except SystemExit:
        return "Exit: it ended before its tests were done"
    except BaseException as error:  # whatever a program can raise
        return told(error, source)
    return ""


def told(error: BaseException, source: str) -> str:
    """Return ``AssertionError: assert f(3) == 4``: the message or else the line of the program it is about."""
    name = type(error).__name__
    with contextlib.suppress(Exception):  # its __str__ may be the program's
        message = " ".join(str(error).split()) or line_of(error, source)
        return f"{name}: {message}"[:300]
    return name


def line_of(error: BaseException, source: str) -> str:
    """Return the line of the program that an error came from; nothing where that is unknown."""
    line, traceback = 0, error.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == PROGRAM:
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return source.splitlines()[line - 1].strip() if line else ""


def confine(folder: str, seconds: int, memory: int, *, bare: bool = False) -> list[str]:
    """Take this process' rights away; return what is not guarded by the system: network, processes, files, memory.

    What is not is guarded inside Python, which a determined program gets around. `bare` does without the system's.
    """
    linux = sys.platform == "linux" and not bare
    namespace = linux and new_namespaces()
    landlocked = linux and landlock(folder)
    limited = limits(seconds, memory)
    filtered = linux and seccomp()  # last: it forbids what the others need
    if not filtered:
        few_processes()
    guarded = {"network": namespace or filtered, "processes": filtered, "files": landlocked, "memory": limited}
    weak = [what for what, system in guarded.items() if not system]
    if set(weak) - {"memory"}:
        forbid(set(weak), folder)
    return weak


def limits(seconds: int, memory: int) -> bool:
    """Limit time, memory (bytes of address space), files and core dumps; return whether memory is limited."""
    try:
        import resource
    except ImportError:  # Windows
        return False
    limit(resource.RLIMIT_CPU, seconds, 1)
    limit(resource.RLIMIT_FSIZE, LARGEST_FILE)
    limit(resource.RLIMIT_NOFILE, OPEN_FILES)
    limit(resource.RLIMIT_CORE, 0)
    return limit(resource.RLIMIT_AS, memory) and sys.platform != "darwin"  # which accepts it and does nothing


def few_processes() -> None:
    """Allow no more processes and threads; on Unix, and not for root."""
    with contextlib.suppress(ImportError):
        import resource

        limit(resource.RLIMIT_NPROC, 0)


def limit(which: int, value: int, grace: int = 0) -> bool:
    """Set a limit (the signal comes at `value`, the end after `grace`); return whether the system took it."""
    import resource

    hard = resource.getrlimit(which)[1]
    most = value + grace if hard == resource.RLIM_INFINITY else min(value + grace, hard)
    try:
        resource.setrlimit(which, (min(value, most), most))
    except (OSError, ValueError):
        return False
    return True


def libc() -> Any:
    """Return the C library."""
    import ctypes

    return ctypes.CDLL(None, use_errno=True)


def new_namespaces() -> bool:
    """Leave for a network of our own, without any interface that is up; return whether the system lets us.

    The new user namespace also takes the rights of root away. Containers and some distributions forbid it.
    """
    return bool(libc().unshare(NEW_USER | NEW_NETWORK | NEW_IPC) == 0)


# Landlock (Linux 5.13): https://docs.kernel.org/userspace-api/landlock.html. Numbers are the same on all machines.
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
READ = 0b1100  # files and folders
WRITE_IN_FOLDER = 0b1110 | 1 << 4 | 1 << 5 | 1 << 7 | 1 << 8  # read, write, remove and make files and folders
RIGHTS = {1: 0x1FFF, 2: 0x3FFF, 3: 0x7FFF, 4: 0x7FFF}  # of the file system, by version; from 5 on 0xFFFF
MOVE, TRUNCATE = 1 << 13, 1 << 14  # from version 2 and 3 on; MOVE: between folders
NO_NEW_PRIVILEGES, SET_SECCOMP = 38, 22  # of prctl(2)


def landlock(folder: str) -> bool:
    """Allow to write in `folder` alone, to read there and where Python lies; return whether the system does it."""
    import ctypes

    c = libc()
    version = c.syscall(CREATE_RULESET, None, 0, 1)
    if version < 1:
        return False
    handled = RIGHTS.get(version, 0xFFFF)
    ruleset = c.syscall(CREATE_RULESET, ctypes.byref(ctypes.c_uint64(handled)), 8, 0)
    if ruleset < 0:
        return False
    done = all(allow(c, ruleset, path, rights & handled) for path, rights in reachable(folder))
    c.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    done = done and c.syscall(RESTRICT_SELF, ruleset, 0) == 0
    os.close(ruleset)
    return done


def reachable(folder: str) -> Iterator[tuple[str, int]]:
    """Yield path -> rights: the folder, Python's libraries and a few devices."""
    yield folder, WRITE_IN_FOLDER | MOVE | TRUNCATE
    own = (sys.base_prefix, os.path.dirname(os.__file__))
    for path in (*own, "/usr/lib", "/usr/lib64", "/lib", "/lib64", "/usr/share/zoneinfo"):
        if os.path.isdir(path):
            yield path, READ
    yield os.devnull, 0b0110
    for path in ("/dev/zero", "/dev/urandom", "/dev/random"):
        yield path, 0b0100


def allow(c: Any, ruleset: int, path: str, rights: int) -> bool:
    """Add a rule for what lies beneath a path; return whether the system took it."""
    import ctypes

    class Beneath(ctypes.Structure):
        _pack_ = 1
        _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))

    try:
        parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:  # what is not there needs no rule
        return True
    done = c.syscall(ADD_RULE, ruleset, 1, ctypes.byref(Beneath(rights, parent)), 0) == 0
    os.close(parent)
    return bool(done)


# System calls that a program which only computes does not need: name, number on x86-64, number on AArch64.
# From asm/unistd_64.h and asm-generic/unistd.h. `clone` makes threads too and is looked into.
CALLS = """
fork 57 -            vfork 58 -           execve 59 221        execveat 322 281     ptrace 101 117
kill 62 129          tkill 200 130        tgkill 234 131       rt_sigqueueinfo 129 138
rt_tgsigqueueinfo 297 240                 pidfd_send_signal 424 424                 pidfd_open 434 434
pidfd_getfd 438 438  setsid 112 157       setpgid 109 154      prlimit64 302 261    setrlimit 160 164
socket 41 198        io_uring_setup 425 425                    bpf 321 280          perf_event_open 298 241
unshare 272 97       setns 308 268        mount 165 40         umount2 166 39       pivot_root 155 41
chroot 161 51        userfaultfd 323 282  keyctl 250 219       add_key 248 217      request_key 249 218
process_vm_readv 310 270                  process_vm_writev 311 271                 open_by_handle_at 304 265
shmget 29 194        msgget 68 186        semget 64 190        mq_open 240 180
memfd_create 319 279 memfd_secret 447 447 truncate 76 45
chmod 90 -           fchmod 91 52         fchmodat 268 53      fchmodat2 452 452    chown 92 -
fchown 93 55         lchown 94 -          fchownat 260 54      utime 132 -          utimes 235 -
futimesat 261 -      utimensat 280 88     setxattr 188 5       lsetxattr 189 6      fsetxattr 190 7
removexattr 197 14   lremovexattr 198 15  fremovexattr 199 16  setxattrat 463 463   removexattrat 466 466
"""
MACHINES = {"x86_64": (0xC000003E, 1, 56), "aarch64": (0xC00000B7, 2, 220)}  # audit architecture, column, clone
CLONE3, FIRST_X32 = 435, 0x40000000
ALLOW, KILL, FAIL = 0x7FFF0000, 0x80000000, 0x00050000  # what a filter says; FAIL | errno
EPERM, ENOSYS = 1, 38
LOAD, EQUAL, AT_LEAST, HAS_BITS, SAY = 0x20, 0x15, 0x35, 0x45, 0x06  # instructions of the filter


def denied(column: int) -> list[int]:
    """Return the numbers of the denied calls on a machine."""
    fields = CALLS.split()
    return [int(number) for number in fields[column::3] if number != "-"]


def instructions(architecture: int, column: int, clone: int) -> list[tuple[int, int, int, int]]:
    """Return the filter: (code, jump if true, jump if false, value), jumps counted from the next instruction."""
    listed = [(LOAD, 0, 0, 4), (EQUAL, 1, 0, architecture), (SAY, 0, 0, KILL), (LOAD, 0, 0, 0)]
    for test, number, errno in [
        (AT_LEAST, FIRST_X32, EPERM),
        (EQUAL, CLONE3, ENOSYS),  # its flags lie in memory; the C library then takes `clone`
        *((EQUAL, number, EPERM) for number in denied(column)),
    ]:
        listed += [(test, 0, 1, number), (SAY, 0, 0, FAIL | errno)]
    # `clone` without the flag of threads would be a process
    listed += [(EQUAL, 0, 3, clone), (LOAD, 0, 0, 16), (HAS_BITS, 1, 0, THREAD), (SAY, 0, 0, FAIL | EPERM)]
    return [*listed, (SAY, 0, 0, ALLOW)]


def seccomp() -> bool:
    """Forbid new processes, sockets, signals and changes of rights; return whether the system does it."""
    import ctypes

    machine = MACHINES.get(os.uname().machine)
    if machine is None or sys.maxsize < 2**32:
        return False

    class Instruction(ctypes.Structure):
        _fields_ = (("code", ctypes.c_uint16), ("true", ctypes.c_uint8), ("false", ctypes.c_uint8),
                    ("value", ctypes.c_uint32))  # fmt: skip

    class Filter(ctypes.Structure):
        _fields_ = (("length", ctypes.c_uint16), ("first", ctypes.POINTER(Instruction)))

    listed = [Instruction(*each) for each in instructions(*machine)]
    program = Filter(len(listed), (Instruction * len(listed))(*listed))
    c = libc()
    c.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    return bool(c.prctl(SET_SECCOMP, 2, ctypes.byref(program), 0, 0) == 0)


FORBIDDEN = {  # events of `sys.addaudithook`, by their beginnings
    "network": ("socket.bind", "socket.connect", "socket.send", "socket.get"),
    "processes": ("os.exec", "os.fork", "os.kill", "os.posix_spawn", "os.spawn", "os.startfile", "os.system",
                  "pty.", "subprocess.", "_winapi.CreateProcess"),
}  # fmt: skip
CHANGES = ("os.chflags", "os.chmod", "os.chown", "os.link", "os.mkdir", "os.remove", "os.rename", "os.rmdir",
           "os.setxattr", "os.removexattr", "os.symlink", "os.truncate", "os.utime")  # fmt: skip


def forbid(weak: set[str], folder: str) -> None:
    """Forbid inside Python what the system does not guard."""
    beginnings = ("ctypes.", *(name for what in weak for name in FORBIDDEN.get(what, ())))
    inside = os.path.realpath(folder) + os.sep
    real, decode = os.path.realpath, os.fsdecode
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

    def outside(paths: tuple[Any, ...]) -> bool:
        named = [decode(path) for path in paths if isinstance(path, (str, bytes))]
        return any(not real(path).startswith(inside) for path in named if path != os.devnull)

    def watch(event: str, values: tuple[Any, ...]) -> None:
        if event.startswith(beginnings):
            raise PermissionError(1, f"{event} is not allowed here")
        writes = event.startswith(CHANGES) or (event == "open" and isinstance(values[2], int) and values[2] & writing)
        if "files" in weak and writes and outside(values[:1] if event == "open" else values):
            raise PermissionError(1, "no writing outside the working folder")

    sys.addaudithook(watch)


if __name__ == "__main__":
    main()
