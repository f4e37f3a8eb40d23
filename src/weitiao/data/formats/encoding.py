"""Which encoding a text file is in, told from its bytes: UTF-8, UTF-16, GB18030, others by guess, Latin-1 last."""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from weitiao.errors import DataError

CHUNK = 1 << 20
NAMED = 3  # files that a note names
BOMS = (  # UTF-32 first: its little-endian mark starts with UTF-16's
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
OTHER_SCRIPTS = ["gb18030", "big5", "big5hkscs", "shift_jis", "cp932", "euc_jp", "euc_kr", "cp949", "cp1251"]


@dataclass(frozen=True)
class Encoding:
    """A codec's name, and what a person should be told about how it was found."""

    name: str
    note: str = ""


def detect_encoding(path: Path) -> Encoding:
    """Return the encoding of the whole file; a `DataError` names the line of a byte that no encoding explains."""
    state = path.stat()
    return _detect(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=256)
def _detect(path: Path, _size: int, _changed: int) -> Encoding:
    with path.open("rb") as file:
        head = file.read(4)
    for mark, name in BOMS:
        if head.startswith(mark):
            return Encoding(name)
    nul, bad = _scan(path)
    if nul is not None:
        return _without_mark(path, nul)
    return Encoding("utf-8") if bad is None else _not_utf8(path, bad)


def _scan(path: Path) -> tuple[int | None, int | None]:
    """Return the byte offsets of the first NUL and of the first byte that is not UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    done = 0
    bad: int | None = None
    for chunk in _chunks(path):
        if b"\0" in chunk:
            return done + chunk.index(b"\0"), bad
        if bad is None:
            held = len(decoder.getstate()[0])
            try:
                decoder.decode(chunk)
            except UnicodeDecodeError as error:
                bad = done - held + error.start
        done += len(chunk)
    if bad is None and decoder.getstate()[0]:
        bad = done - len(decoder.getstate()[0])
    return None, bad


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk


def _without_mark(path: Path, nul: int) -> Encoding:
    """Tell UTF-16 without a byte order mark from a NUL in a damaged or binary file."""
    with path.open("rb") as file:
        sample = file.read(CHUNK)
    found = [(_ascii_share(sample, name), name) for name in ("utf-16-le", "utf-16-be")]
    share, name = max(found)
    if share > 0:
        return Encoding(name, f"read as {name.upper()}, which it is without saying so")
    raise DataError(
        "there is a NUL byte here: the file is damaged or is not text",
        where=f"{path.name}:{_line_of(path, nul)}",
        fix="Export it again as UTF-8, or remove the byte: tr -d '\\000' < FILE > CLEAN",
    )


def _ascii_share(sample: bytes, name: str) -> float:
    """Share of ASCII line ends and separators once decoded; a wrong byte order has none. 0 when it cannot be."""
    try:
        text = codecs.getincrementaldecoder(name)().decode(sample[: len(sample) & ~1])
    except UnicodeDecodeError:
        return 0.0
    plain = sum(text.count(mark) for mark in "\n\r\t ,;.0123456789")
    return 0.0 if "\0" in text else plain / max(1, len(text))


def _not_utf8(path: Path, bad: int) -> Encoding:
    with path.open("rb") as file:
        start = max(0, bad - CHUNK // 2)
        file.seek(start)
        sample = file.read(CHUNK)
    lines = [line for line in sample.split(b"\n")[1 if start else 0 :] if not line.isascii()]
    if len(sample) == CHUNK and len(lines) > 1:
        lines = lines[:-1]  # cut in the middle
    good = sum(_decodes(line, "utf-8") for line in lines)
    if good > 4 * (len(lines) - good):
        raise DataError(
            "this line is not UTF-8, while the rest of the file is",
            where=f"{path.name}:{_line_of(path, bad)}",
            fix="Mend the line, or export the file again as UTF-8.",
        )
    return _other(b"\n".join(lines))


def _other(sample: bytes) -> Encoding:
    if _chinese_share(sample) > 0.7:
        return Encoding("gb18030", "read as GB18030 (GBK)")
    letters = sum(byte > 127 for byte in sample)
    if letters > 0.3 * len(sample):  # another script altogether, not Latin letters with a few accents
        from charset_normalizer import from_bytes

        guess = from_bytes(sample[:CHUNK], cp_isolation=OTHER_SCRIPTS).best()
        if guess is not None and _decodes(sample, guess.encoding):
            return Encoding(guess.encoding, f"read as {guess.encoding}, which is a guess; UTF-8 would be certain")
    windows = any(0x80 <= byte <= 0x9F for byte in sample) and _decodes(sample, "cp1252")
    name, told = ("cp1252", "Windows-1252") if windows else ("latin-1", "Latin-1")
    return Encoding(name, f"is not UTF-8; read as {told}, which takes any byte: look at the accents")


def _chinese_share(sample: bytes) -> float:
    """Share of the other-than-ASCII characters that are in GB 2312, the everyday part, when read as GB18030."""
    try:
        text = sample.decode("gb18030")
    except UnicodeDecodeError:
        return 0.0
    characters = [character for character in text if not character.isascii()]
    return len("".join(characters).encode("gb2312", "ignore")) / max(1, 2 * len(characters))


def _decodes(data: bytes, name: str) -> bool:
    try:
        data.decode(name)
    except UnicodeDecodeError:
        return False
    return True


def _line_of(path: Path, offset: int) -> int:
    """Return the line, counted from 1, that the byte at `offset` stands in."""
    lines, left = 1, offset
    for chunk in _chunks(path):
        lines += chunk[:left].count(b"\n")
        left -= len(chunk)
        if left <= 0:
            break
    return lines


def undecodable(path: Path, encoding: str) -> DataError:
    """Return the error for a file whose later part does not decode, naming the first such line."""
    decoder = codecs.getincrementaldecoder(encoding)()
    line = 1
    for chunk in _chunks(path):
        try:
            line += decoder.decode(chunk).count("\n")
        except UnicodeDecodeError as error:
            line += error.object[: error.start].decode(encoding, "ignore").count("\n")
            break
    return DataError(
        f"this line is not {encoding.upper()}, while the lines before are",
        where=f"{path.name}:{line}",
        fix="Export the file again as UTF-8.",
    )


def encoding_notes(files: Sequence[Path], folder: Path) -> list[str]:
    """Return what a person should be told about the encodings of a folder's files, and which ones it is about."""
    odd: dict[str, list[str]] = {}
    for file in files:
        if note := detect_encoding(file).note:
            odd.setdefault(note, []).append(file.relative_to(folder).as_posix())
    return [
        f"{len(names):,} of {len(files):,} files ({shortened(names)}): {note}" for note, names in sorted(odd.items())
    ]


def shortened(names: Sequence[str]) -> str:
    """Return the first few names, and how many more there are."""
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number from 1, line without its end), whatever the encoding; empty lines left out."""
    encoding = detect_encoding(path).name
    try:
        with path.open(encoding=encoding) as file:
            for number, line in enumerate(file, 1):
                if line := line.rstrip("\n"):
                    yield number, line
    except UnicodeError:
        raise undecodable(path, encoding) from None


def whole_text(path: Path) -> str:
    """Return the file's text, whatever the encoding."""
    encoding = detect_encoding(path).name
    try:
        return path.read_text(encoding=encoding)
    except UnicodeError:
        raise undecodable(path, encoding) from None
