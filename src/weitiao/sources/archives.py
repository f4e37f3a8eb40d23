"""Unpack wheels and sdists from strangers: nothing may land outside the folder, and no archive may fill the disk."""

from __future__ import annotations

import re
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from weitiao.errors import SourceError

MAX_FILES = 200_000
MAX_GROWTH = 100  # unpacked size over archive size; text shrinks about tenfold, an archive bomb a thousandfold
ALWAYS_FINE = 1 << 30  # bytes that may be unpacked whatever the archive's size


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a wheel, zip or tar archive into the existing empty `folder`.

    Refused with a `SourceError` before anything harmful is written: absolute names and `..`, links that point out of
    the folder, devices, too many files, too many bytes. Links that stay inside become copies.
    """
    try:
        if zipfile.is_zipfile(archive):
            _unpack_zip(archive, folder)
        elif tarfile.is_tarfile(archive):
            _unpack_tar(archive, folder)
        else:
            raise SourceError(f"{archive.name} is neither a zip nor a tar archive, or it is damaged")
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, NotImplementedError, RuntimeError) as error:
        raise SourceError(f"{archive.name} cannot be unpacked: {error}") from None


def without_single_top(folder: Path) -> Path:
    """Return the one folder that holds everything, as in an sdist (`name-1.0/...`); else `folder` itself."""
    entries = list(folder.iterdir())
    return entries[0] if len(entries) == 1 and entries[0].is_dir() else folder


def _unpack_zip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as opened:
        members = opened.infolist()
        for member in members:
            _checked_name(archive, member.orig_filename)
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _refused(archive, f"'{member.filename}' is a link or a device")
        _check_bounds(archive, folder, [member.file_size for member in members])
        opened.extractall(folder)  # reads no more than the declared size of each, and checks its CRC


def _unpack_tar(archive: Path, folder: Path) -> None:
    with tarfile.open(archive) as opened:
        members = _bounded_members(archive, opened)
        for member in members:
            _checked_name(archive, member.name)
            if member.islnk() or member.issym():
                _link_target(archive, member)
            elif not (member.isreg() or member.isdir()):
                raise _refused(archive, f"'{member.name}' is a device or pipe")
        _check_bounds(archive, folder, [member.size for member in members])
        for member in members:
            if member.isreg() or member.isdir():
                opened.extract(member, folder, filter="data")
        for member in members:
            if member.islnk() or member.issym():
                _copy_linked(folder, member.name, _link_target(archive, member))


def _bounded_members(archive: Path, opened: tarfile.TarFile) -> list[tarfile.TarInfo]:
    """List the members, giving up early: a compressed tar has to be read through to know them all."""
    members: list[tarfile.TarInfo] = []
    size = 0
    for member in opened:
        members.append(member)
        size += member.size
        if len(members) > MAX_FILES or size > _most_bytes(archive):
            _check_bounds(archive, archive.parent, [m.size for m in members])
    return members


def _checked_name(archive: Path, name: str) -> None:
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if not name or "\0" in name or ".." in parts or name[0] in "/\\" or re.match(r"[A-Za-z]:", name):
        raise _refused(archive, f"the name {name!r} leads outside of it")


def _link_target(archive: Path, member: tarfile.TarInfo) -> PurePosixPath:
    """Return a link's target within the archive: hard links name it from the top, symbolic ones from where they are."""
    start = PurePosixPath() if member.islnk() else PurePosixPath(member.name).parent
    inside: list[str] = []
    for part in (start / member.linkname).parts:
        if part == "/" or (part == ".." and not inside):
            raise _refused(archive, f"the link '{member.name}' points outside of it")
        if part == "..":
            inside.pop()
        else:
            inside.append(part)
    return PurePosixPath(*inside)


def _copy_linked(folder: Path, name: str, target: PurePosixPath) -> None:
    """Copy what a link points to. No link is ever made, so nothing can be written through one."""
    source, copy = folder / target, folder / name
    if source.is_file() and not copy.exists():
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, copy)


def _most_bytes(archive: Path) -> int:
    return max(ALWAYS_FINE, MAX_GROWTH * archive.stat().st_size)


def _check_bounds(archive: Path, folder: Path, sizes: Iterable[int]) -> None:
    sizes = list(sizes)
    if len(sizes) > MAX_FILES:
        raise _refused(archive, f"it holds more than {MAX_FILES:,} files")
    if sum(sizes) > _most_bytes(archive):
        raise _refused(archive, f"it grows to {sum(sizes) / 1e9:,.1f} GB or more: an archive bomb?")
    free = shutil.disk_usage(folder).free
    if sum(sizes) > free:
        need, have = sum(sizes) / 1e6, free / 1e6
        fix = "Free some space there, or set WEITIAO_CACHE to a folder on another disk."
        raise SourceError(f"{archive.name} needs {need:,.0f} MB in {folder.parent}; {have:,.0f} MB are free", fix=fix)


def _refused(archive: Path, why: str) -> SourceError:
    return SourceError(f"refused to unpack {archive.name}: {why}", fix="Nothing of it was kept.")
