"""Sounds of every kind become mono at 16 kHz; what is no sound is named with its row."""

from __future__ import annotations

import io
import json
import os
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

from weitiao.data import open_table
from weitiao.data.audio import RATE, read_audio
from weitiao.errors import DataError


def tone(seconds: float = 0.5, rate: int = RATE, pitch: float = 440.0) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * pitch * np.arange(int(seconds * rate)) / rate)


def wav(samples: np.ndarray, rate: int = RATE, width: int = 2) -> bytes:
    """A WAV file of whole numbers, samples of shape (n,) or (n, channels)."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        out.setsampwidth(width)
        out.setframerate(rate)
        if width == 1:
            out.writeframes((samples * 127 + 128).astype("<u1").tobytes())
        else:
            whole = (samples * (2 ** (8 * width - 1) - 1)).astype("<i4")
            out.writeframes(whole.astype(f"<i{width}").tobytes())
    return file.getvalue()


@pytest.fixture(params=["soundfile", "scipy"])
def decoder(request, monkeypatch):
    if request.param == "soundfile":
        pytest.importorskip("soundfile")
    else:
        monkeypatch.setitem(sys.modules, "soundfile", None)


@pytest.mark.parametrize("width", [1, 2, 4])
def test_wav_of_any_width(decoder, width):
    found = read_audio(wav(tone(), width=width), "x")
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, tone(), atol={1: 0.02, 2: 1e-3, 4: 1e-6}[width])


@pytest.mark.parametrize("rate", [8_000, 22_050, 44_100, 48_000])
def test_other_rates_are_resampled(decoder, rate):
    found = read_audio(wav(tone(rate=rate), rate), "x")
    assert abs(len(found) - RATE // 2) <= 1
    middle = slice(500, 7000)  # filters ring at the ends
    np.testing.assert_allclose(found[middle], tone()[: len(found)][middle], atol=0.01)


def test_channels_are_averaged(decoder):
    both = np.stack([tone(), np.zeros_like(tone())], axis=1)
    np.testing.assert_allclose(read_audio(wav(both), "x"), tone() / 2, atol=1e-3)


def test_every_way_to_give_a_sound(tmp_path):
    (tmp_path / "clips").mkdir()
    path = tmp_path / "clips" / "a.wav"
    path.write_bytes(wav(tone()))
    array = {"array": tone().tolist(), "sampling_rate": RATE}
    ways = [
        "clips/a.wav", Path("clips/a.wav"), str(path), {"path": "clips/a.wav"}, {"bytes": None, "path": "clips/a.wav"},
        {"bytes": path.read_bytes(), "path": "gone.wav"}, path.read_bytes(), array, json.dumps(array),
        json.dumps({"path": str(path)}), {"array": (tone() * 32767).astype(int).tolist(), "sampling_rate": RATE},
        {"array": np.stack([tone(), tone()]), "sampling_rate": RATE},
    ]  # fmt: skip
    for way in ways:
        np.testing.assert_allclose(read_audio(way, "x", folder=tmp_path), tone(), atol=1e-3)


def test_flac_with_the_extra():
    soundfile = pytest.importorskip("soundfile")
    file = io.BytesIO()
    soundfile.write(file, tone(), RATE, format="FLAC")
    np.testing.assert_allclose(read_audio(file.getvalue(), "x"), tone(), atol=1e-3)


def test_without_the_extra_only_wav(monkeypatch):
    monkeypatch.setitem(sys.modules, "soundfile", None)
    np.testing.assert_allclose(read_audio(wav(tone()), "x"), tone(), atol=1e-3)
    with pytest.raises(DataError, match=r"(?s)is no WAV file.*weitiao\[audio\]"):
        read_audio(b"fLaC" + bytes(100), "x")


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("words.txt", "'words.txt' is no (sound|WAV)"),
        ("cut.wav", "'cut.wav' is no sound that can be read"),
        ("empty.wav", "'empty.wav' is an empty file"),
        ("gone.wav", "there is no file 'gone.wav'"),
        (".", r"'\.' cannot be read"),
        ("silent.wav", "the sound is empty"),
        ("short.wav", r"lasts 0\.010 seconds: too short"),
        (None, "found nothing, not a sound"),
        ("", "found nothing, not a sound"),
        (3, "found int, not a sound"),
        ({"text": "x"}, "found nothing, not a sound"),
        ({"array": [0.0] * 9000}, "the sampling_rate is None"),
        ({"array": ["a", "b"], "sampling_rate": RATE}, "the array is no list of numbers"),
        ({"array": [], "sampling_rate": RATE}, "the sound is empty"),
        ({"array": [0.0, float("nan")] * 9000, "sampling_rate": RATE}, "samples that are no numbers"),
    ],
)
def test_what_is_no_sound_is_named(decoder, tmp_path, value, told):
    (tmp_path / "words.txt").write_text("these are words and no sound at all")
    (tmp_path / "cut.wav").write_bytes(wav(tone())[:30])
    (tmp_path / "empty.wav").write_bytes(b"")
    (tmp_path / "silent.wav").write_bytes(wav(tone(0)))
    (tmp_path / "short.wav").write_bytes(wav(tone(0.01)))
    with pytest.raises(DataError, match=told) as raised:
        read_audio(value, "clips.csv:3 (audio)", folder=tmp_path)
    assert raised.value.where == "clips.csv:3 (audio)"


# --- tables


def clips(folder: Path, header: str = "path,text") -> Path:
    (folder / "clips").mkdir(parents=True)
    for name in ("a", "b"):
        (folder / "clips" / f"{name}.wav").write_bytes(wav(tone()))
    (folder / "data.csv").write_text(f"{header}\nclips/a.wav,one\nclips/b.wav,two\n")
    return folder / "data.csv"


def test_paths_start_from_the_data_file(tmp_path):
    first = open_table(str(clips(tmp_path / "here")), layout="audio")
    assert first.dataset["path"][:] == [str(tmp_path / "here" / "clips" / name) for name in ("a.wav", "b.wav")]
    assert len(read_audio(first.dataset["path"][1], "x")) == RATE // 2
    second = open_table("data.csv", base=clips(tmp_path / "there").parent, layout="audio")
    assert second.dataset["path"][0] == str(tmp_path / "there" / "clips" / "a.wav")  # the same csv, other sounds
    assert open_table(str(tmp_path / "here" / "data.csv")).dataset["path"][0] == "clips/a.wav"


def test_named_column_and_objects(tmp_path):
    path = clips(tmp_path, "recording,text")
    named = open_table(str(path), layout="audio", named={"audio": "recording"})
    assert named.dataset["recording"][0] == str(tmp_path / "clips" / "a.wav")
    rows = [{"audio": {"path": "clips/a.wav"}}, {"audio": {"array": [0.0], "sampling_rate": 16000}}]
    (tmp_path / "b.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    data = open_table("b.jsonl", base=tmp_path, layout="audio").dataset
    assert data["audio"][:] == [str(tmp_path / "clips" / "a.wav"), '{"array": [0.0], "sampling_rate": 16000}']


def test_a_changed_sound_makes_other_examples_and_a_missing_one_is_named(tmp_path):
    path = clips(tmp_path)
    first = open_table(str(path), layout="audio")
    assert open_table(str(path), layout="audio").digest == first.digest
    (tmp_path / "clips" / "b.wav").write_bytes(wav(tone(pitch=300)))
    os.utime(tmp_path / "clips" / "b.wav", (1, 1))
    assert open_table(str(path), layout="audio").digest != first.digest
    (tmp_path / "clips" / "b.wav").unlink()
    with pytest.raises(DataError, match=r"data\.csv:3 \(path\): there is no file 'b\.wav'"):
        open_table(str(path), layout="audio")
