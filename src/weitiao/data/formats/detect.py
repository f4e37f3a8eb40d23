"""Which files of a source hold the examples, and in which format."""

from __future__ import annotations

import re
from pathlib import Path

from weitiao import registry
from weitiao.data.formats.base import Format, Layout
from weitiao.data.formats.documents import Documents, document_files
from weitiao.data.formats.saved import SavedDataset
from weitiao.data.formats.text import ABOUT, Text
from weitiao.errors import DataError
from weitiao.records import SPLITS, SplitName

ALIASES: dict[SplitName, tuple[str, ...]] = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev", "devel"),
    "test": ("test", "testing"),
}
TEXTS = ("text", "documents")  # formats of plain text: a folder's tables go before them
NOT_DATA = ("dataset_info", "dataset_infos", "dataset_dict", "state", "categories", "labels", "config", "package")


def format_of(path: Path, layout: Layout | None = None) -> type[Format]:
    """Return the format of a file or folder: by its suffix, else its content. A `DataError` lists what there is.

    With the layout ``documents`` text is read as documents, not as examples.
    """
    if layout == "documents" and Documents.recognises(path):
        return Documents
    formats: dict[str, type[Format]] = {name: registry.get("format", name) for name in registry.names("format")}
    if path.is_file() and (known := _by_suffix(path, list(formats.values()))):
        return known
    last = [formats.pop(name) for name in TEXTS]  # they take any text
    for known in (*formats.values(), *last):
        if (path.is_dir() or path.suffix.lower() not in UNREADABLE) and known.recognises(path):
            return known
    suffixes = sorted(suffix for known in (*formats.values(), *last) for suffix in known.suffixes)
    fix = f"Known are {', '.join(suffixes)}, folders of text files and saved `datasets` folders."
    raise DataError(
        "is no kind of data that can be read", where=path.name, fix=UNREADABLE.get(path.suffix.lower(), fix)
    )


def _by_suffix(path: Path, formats: list[type[Format]]) -> type[Format] | None:
    """Return the format that the suffix stands for, or one that the content tells it is although others have it."""
    suffix = path.suffix.lower()
    for known in formats:
        if suffix in getattr(known, "told_by_content", ()) and known.recognises(path):
            return known
    return next((known for known in formats if suffix in known.suffixes), None)


UNREADABLE = {
    ".xlsx": "Save the sheet as CSV (UTF-8).",
    ".xls": "Save the sheet as CSV (UTF-8).",
    ".zip": "Unpack it and name a file in it.",
    ".gz": "Unpack it first.",
    ".pkl": "A pickle can run code when it is read; save the data as Parquet or CSV.",
    ".pickle": "A pickle can run code when it is read; save the data as Parquet or CSV.",
    ".pdf": "Save its text as .txt, one example a line.",
}


def split_of(name: str) -> SplitName | None:
    """Return the split that a file or folder name speaks of: ``train-00000-of-00002.parquet``, ``cls_dev.tsv``."""
    words = re.split(r"[^a-z]+", name.lower())
    for split, aliases in ALIASES.items():
        if any(word in aliases for word in words):
            return split
    return None


def splits_in(path: Path, layout: Layout | None = None) -> set[SplitName]:
    """Return the splits that a folder holds by name; empty for a file or a folder of one data set."""
    if not path.is_dir() or SavedDataset.recognises(path):
        return set()
    return {split for split in SPLITS if _named(path, split, layout)}


def files_of(path: Path, split: SplitName | None = None, layout: Layout | None = None) -> list[Path]:
    """Return what to read, in order: the file itself, a folder that is one data set, or a folder's files of `split`.

    Without a split, a folder's ``train`` is meant where it has one. A `DataError` lists the files when it is unclear.
    """
    if path.is_file() or SavedDataset.recognises(path):
        return [path]
    found = _named(path, split or "train", layout)
    if not found and not (split and splits_in(path, layout)):
        found = _whole(path, layout)
    if len(found) == 1 and found[0].is_dir() and found[0] != path and not SavedDataset.recognises(found[0]):
        return files_of(found[0], layout=layout)
    if found and _are_shards(found):
        return found
    raise _unclear(path, found, split)


def _whole(path: Path, layout: Layout | None) -> list[Path]:
    """Return what a folder holds that has no splits: itself where it is one of texts, else its tables."""
    if layout == "documents" and Documents.recognises(path):
        return [path]
    if found := _tables(path):
        return found
    if Text.recognises(path):
        plain = _plain_texts(path)
        return plain if len(plain) == 1 and not _subfolders_with_text(path) else [path]
    return [path] if Documents.recognises(path) else []


def _unclear(path: Path, found: list[Path], split: SplitName | None) -> DataError:
    names = [str(file.relative_to(path)) for file in (found or _tables(path))]
    wanted = f" for {split}" if split else ""
    if not names:
        return DataError(f"holds no data file that is known{wanted}", where=path.name)
    problem = f"holds several data files{wanted}" if found else f"holds no data file{wanted} among"
    fix = f"Name one, such as {path.name}/{names[0]}"
    return DataError(f"{problem}: {', '.join(names[:12])}", where=path.name, fix=fix)


def _named(path: Path, split: SplitName, layout: Layout | None) -> list[Path]:
    """Return a folder named after the split, else the files named after it."""
    for alias in ALIASES[split]:
        if (path / alias).is_dir():
            return [path / alias]
    files = (_texts_of_splits(path) if layout == "documents" else []) or _tables(path)
    return [file for file in files if split_of(_told(file, path)) == split]


def _texts_of_splits(path: Path) -> list[Path]:
    """Return the text files at the top where all are named after splits: ``wiki.train.txt``, ``wiki.test.txt``."""
    files = document_files(path)
    return files if all(file.parent == path and split_of(file.name) for file in files) else []


def _told(file: Path, path: Path) -> str:
    """The part of a file's path that can speak of a split: its name, else its folders below `path`."""
    return file.name if split_of(file.name) else str(file.relative_to(path).parent)


def _tables(path: Path) -> list[Path]:
    """Return the data files other than plain text, at the top or, where there are none, up to three folders down."""
    formats = [registry.get("format", name) for name in registry.names("format") if name not in TEXTS]
    suffixes = {suffix for known in formats for suffix in known.suffixes}
    for pattern in ("*", "*/*", "*/*/*"):
        found = [file for file in sorted(path.glob(pattern)) if file.suffix.lower() in suffixes and _is_data(file)]
        if found:
            return found
    return []


def _is_data(file: Path) -> bool:
    name = file.stem.lower()
    return file.is_file() and not name.startswith((*ABOUT, ".", "_")) and name not in NOT_DATA


def _plain_texts(path: Path) -> list[Path]:
    return [file for file in sorted(path.glob("*.txt")) if _is_data(file)]


def _subfolders_with_text(path: Path) -> bool:
    return any(True for _ in path.glob("*/*.txt"))


def _are_shards(files: list[Path]) -> bool:
    """Whether files are parts of one whole: in one folder, their names differing in digits alone."""
    return len({(file.parent, re.sub(r"\d+", "0", file.name)) for file in files}) == 1
