"""Which package index this machine uses: pip's own configuration, read without running pip."""

from __future__ import annotations

import configparser
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

SECTIONS = ("global", "download", "install")


@dataclass(frozen=True)
class PipSettings:
    """What pip would use to find a package. Locations on this machine that do not exist are left out."""

    indexes: tuple[str, ...]
    find_links: tuple[str, ...]
    trusted_hosts: tuple[str, ...]
    certificates: str | None
    timeout: float  # seconds


def read() -> PipSettings:
    """Read pip's configuration files and its `PIP_*` environment variables; the environment wins."""
    values: dict[str, str] = {}
    for file in _files():
        values |= _read_file(file)
    values |= {
        name.removeprefix("PIP_").lower().replace("_", "-"): value
        for name, value in os.environ.items()
        if name.startswith("PIP_") and value
    }
    return _settings(values)


def _settings(values: Mapping[str, str]) -> PipSettings:
    indexes = [values.get("index-url") or default_index(), *values.get("extra-index-url", "").split()]
    if values.get("no-index", "").lower() in ("1", "true", "yes", "on"):
        indexes = []
    certificates = values.get("cert")
    return PipSettings(
        indexes=tuple(index for index in indexes if _may_exist(index)),
        find_links=tuple(link for link in values.get("find-links", "").split() if _may_exist(link)),
        trusted_hosts=tuple(values.get("trusted-host", "").split()),
        certificates=certificates if certificates and Path(certificates).exists() else None,
        timeout=_seconds(values),
    )


def default_index() -> str:
    """The index that is asked where none is configured, as the library has it."""
    from unearth import PackageFinder

    return str(PackageFinder().sources[0]["url"])


def _seconds(values: Mapping[str, str]) -> float:
    try:
        return float(values.get("timeout") or values.get("default-timeout") or 15)
    except ValueError:
        return 15.0


def _may_exist(location: str) -> bool:
    parts = urlsplit(location)
    if parts.scheme in ("http", "https"):
        return True
    return Path(url2pathname(parts.path) if parts.scheme == "file" else location).expanduser().exists()


def _files() -> list[Path]:
    """Return pip's configuration files, the ones that win last; see "Configuration files" in pip's documentation."""
    named = os.environ.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return []
    home = Path.home()
    if sys.platform == "win32":
        name, system = "pip.ini", [Path(os.environ.get("PROGRAMDATA", "C:/ProgramData")) / "pip"]
        user = [home / "pip", Path(os.environ.get("APPDATA", home / "AppData/Roaming")) / "pip"]
    else:
        name, system = "pip.conf", [Path(d) / "pip" for d in reversed(_xdg_folders())] + [Path("/etc")]
        user = [home / ".pip", Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config") / "pip"]
    if sys.platform == "darwin":
        support = Path("Library/Application Support/pip")
        system, user = [Path("/") / support], [home / ".pip", home / ".config/pip", home / support]
    files = [folder / name for folder in [*system, *user, Path(sys.prefix)]]
    return [*files, Path(named)] if named else files


def _xdg_folders() -> list[str]:
    return (os.environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(os.pathsep)


def _read_file(path: Path) -> dict[str, str]:
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string(path.read_text(encoding="utf-8", errors="replace"))
    except (OSError, configparser.Error):
        return {}  # pip itself will complain about a damaged file; another one may do
    return {
        option.replace("_", "-"): value
        for section in SECTIONS
        if parser.has_section(section)
        for option, value in parser.items(section)
    }
