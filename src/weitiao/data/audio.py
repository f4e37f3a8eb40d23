"""Sounds: from a file, bytes or an array to what speech models hear, mono at 16 kHz."""

from __future__ import annotations

import io
import json
import math
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from weitiao.data.arrow import arrow_batches, digest
from weitiao.errors import DataError
from weitiao.records import FILE, LINE

if TYPE_CHECKING:
    from datasets import Dataset

RATE = 16_000  # samples a second
SHORTEST = 0.1  # seconds
AUDIO_NAMES = (
    "audio",
    "path",
    "file",
    "file_name",
    "filename",
    "audio_path",
    "audio_filepath",
    "wav",
    "sound",
    "speech",
)


def read_audio(value: Any, where: str, *, folder: Path | None = None) -> np.ndarray:
    """Return a sound as float32 of shape (samples,), mono, 16,000 samples a second, between -1 and 1.

    `value` is a path (from `folder` when it is relative), a file's bytes, ``{"array": [...], "sampling_rate": 44100}``,
    ``{"path": ...}`` or ``{"bytes": ...}``, objects also as JSON text. Several channels are averaged; whole numbers are
    taken for 16-bit samples, larger ones for 32-bit. A `DataError` at
    `where`, such as ``clips.jsonl:3 (audio)``, for what is missing, is no sound, is empty or shorter than a tenth of a
    second. WAV can always be read, FLAC, MP3 and OGG with the extra `audio`.
    """
    samples, rate = _samples(_opened(value), where, folder)
    if samples.ndim == 2:
        samples = samples.mean(axis=1)
    if not samples.size:
        raise DataError("the sound is empty", where=where, fix="Take the row out.")
    if not np.isfinite(samples).all():
        raise DataError("the sound has samples that are no numbers (nan, inf)", where=where, fix="Record it again.")
    if len(samples) < SHORTEST * rate:
        raise DataError(f"the sound lasts {len(samples) / rate:.3f} seconds: too short for any speech", where=where,
                        fix="Take the row out.")  # fmt: skip
    return _resampled(samples.astype(np.float32), rate)


def _opened(value: Any) -> Any:
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _samples(value: Any, where: str, folder: Path | None) -> tuple[np.ndarray, int]:
    """Return samples, shape (samples,) or (samples, channels), and how many a second."""
    if isinstance(value, Mapping):
        if value.get("array") is not None:
            return _array(value, where)
        value = value["bytes"] if value.get("bytes") else value.get("path")
    if isinstance(value, bytes):
        return _decoded(value, "the sound", where)
    if not isinstance(value, str | Path) or not str(value).strip():
        found = "nothing" if value in (None, "") else type(value).__name__
        raise DataError(f"found {found}, not a sound", where=where, fix="Give a path, or an array with sampling_rate.")
    path = (folder or Path()) / value
    try:
        return _decoded(path.read_bytes(), f"'{value}'", where)
    except OSError as error:
        raise _unreadable(value, error, where) from None


def _array(value: Mapping[str, Any], where: str) -> tuple[np.ndarray, int]:
    rate = value.get("sampling_rate")
    if not isinstance(rate, int | float) or isinstance(rate, bool) or rate < 1:
        raise DataError(
            f"the sampling_rate is {rate!r}", where=where, fix='Give {"array": [...], "sampling_rate": 16000}.'
        )
    try:
        samples = np.asarray(value["array"])
        samples = _scaled(samples) if samples.dtype.kind in "iu" else samples.astype(np.float32)
    except (TypeError, ValueError):
        samples = np.empty((0, 0, 0))
    if samples.ndim > 2:
        raise DataError(
            "the array is no list of numbers", where=where, fix="One number a sample; channels side by side."
        )
    if samples.ndim == 2 and samples.shape[0] < samples.shape[1]:
        samples = samples.T  # channels came first
    return samples, round(rate)


def _decoded(data: bytes, told: str, where: str) -> tuple[np.ndarray, int]:
    if not data:
        raise DataError(f"{told} is an empty file", where=where, fix="Take the row out.")
    try:
        import soundfile
    except (ImportError, OSError):  # OSError: without its C library
        return _wav(data, told, where)
    try:
        samples, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError, ValueError, TypeError):
        raise _no_sound(told, where) from None
    return samples, int(rate)


def _wav(data: bytes, told: str, where: str) -> tuple[np.ndarray, int]:
    """Read WAV without soundfile."""
    from scipy.io import wavfile

    if data[:4] not in (b"RIFF", b"RIFX", b"RF64"):
        fix = "For FLAC, MP3 and OGG: pip install 'weitiao[audio]'."
        raise DataError(f"{told} is no WAV file", where=where, fix=fix)
    try:
        with warnings.catch_warnings():  # chunks it does not know
            warnings.simplefilter("ignore")
            rate, samples = wavfile.read(io.BytesIO(data))
    except Exception:  # of a broken file it raises struct.error, ValueError, IndexError, ZeroDivisionError ...
        raise _no_sound(told, where) from None
    return _scaled(samples), int(rate)


def _scaled(samples: np.ndarray) -> np.ndarray:
    """Return whole-number samples as float32 between -1 and 1; floats as they are."""
    floats: np.ndarray = samples.astype(np.float32)
    if samples.dtype.kind == "u":  # 8 bit, silence at 128
        return (floats - 128) / 128
    if samples.dtype.kind == "i":
        largest = 2 ** (samples.dtype.itemsize * 8 - 1)
        if samples.dtype.itemsize == 8:  # a list of numbers, which does not tell
            largest = 2**15 if np.abs(samples.astype(np.float64)).max(initial=0) <= 2**15 else 2**31
        return floats / np.float32(largest)
    return floats


def _no_sound(told: str, where: str) -> DataError:
    return DataError(f"{told} is no sound that can be read", where=where,
                     fix="WAV, FLAC, MP3 and OGG can; is the file whole?")  # fmt: skip


def _unreadable(value: str | Path, error: OSError, where: str) -> DataError:
    if isinstance(error, FileNotFoundError):
        return DataError(f"there is no file '{value}'", where=where, fix="Paths start from the data file's folder.")
    return DataError(f"'{value}' cannot be read: {error.strerror}", where=where)


def _resampled(samples: np.ndarray, rate: int) -> np.ndarray:
    if rate == RATE:
        return samples
    from scipy.signal import resample_poly

    shared = math.gcd(rate, RATE)
    found: np.ndarray = resample_poly(samples, RATE // shared, rate // shared)
    return found.astype(np.float32)


# --- tables


def audio_column(columns: list[str], named: Mapping[str, Any]) -> str | None:
    """Return the column that holds sounds: as the recipe names it, else by its usual name."""
    if isinstance(named.get("audio"), str):
        return str(named["audio"]) if named["audio"] in columns else None
    there = {name.strip().casefold(): name for name in reversed(columns)}
    return next((there[name] for name in AUDIO_NAMES if name in there), None)


def with_paths(
    rows: Iterator[tuple[int, dict[str, Any]]], folder: Path, named: Mapping[str, Any]
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line, record), paths of sounds made absolute from `folder`."""
    for line, record in rows:
        if column := audio_column(list(record), named):
            record[column] = _absolute(_opened(record[column]), folder)
        yield line, record


def _absolute(value: Any, folder: Path) -> Any:
    if isinstance(value, str) and value.strip():
        return os.path.abspath(folder / value.strip())  # noqa: PTH100 - keeps links as they are
    if isinstance(value, dict) and value.get("path") and not value.get("bytes") and value.get("array") is None:
        return _absolute(value["path"], folder)
    return value


def files_digest(dataset: Dataset, column: str) -> str:
    """Return what stands for the sounds' files, their sizes and times; a `DataError` names one that is missing."""
    sums = []
    for batch in arrow_batches(dataset, [column, LINE, FILE]):
        values, lines, files = (batch.column(at).to_pylist() for at in range(3))
        for value, line, file in zip(values, lines, files, strict=True):
            if isinstance(value, str) and os.path.isabs(value):  # noqa: PTH117 - a sound's path, not JSON text
                sums.append(_state(value, f"{file}:{line} ({column})"))
    return digest(*sums)


def _state(path: str, where: str) -> str:
    try:
        state = Path(path).stat()
    except OSError as error:
        raise _unreadable(Path(path).name, error, where) from None
    return f"{path} {state.st_size} {state.st_mtime_ns}"
