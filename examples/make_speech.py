"""Make spoken announcements of a railway station: wav files, and a csv with what is said in English and in Chinese.

    apt-get install espeak-ng        # or: brew install espeak-ng
    python examples/make_speech.py examples/data/speech

The sentences are written for this project; names of places are made up. The same call makes the same files.
"""

from __future__ import annotations

import csv
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

STATIONS = {
    "Harrowby": "哈罗比", "Kelverton": "凯尔弗顿", "Millbrook": "米尔布鲁克", "Oxwell": "奥克斯韦尔",
    "Penrose": "彭罗斯", "Quarry Hill": "采石山", "Ravenscar": "雷文斯卡", "Stonebridge": "石桥",
    "Tillingham": "蒂林厄姆", "Wexcombe": "韦克斯库姆",
}  # fmt: skip
NUMBERS = {
    "two": "二", "three": "三", "four": "四", "five": "五", "six": "六", "seven": "七", "eight": "八", "nine": "九",
    "ten": "十", "eleven": "十一", "twelve": "十二",
}  # fmt: skip
TIMES = {
    "noon": "中午", "half past eight": "八点半", "ten past nine": "九点十分", "a quarter to five": "四点四十五分",
    "twenty to seven": "六点四十分", "midnight": "午夜",
}  # fmt: skip
SENTENCES = {
    "The train to {place} leaves from platform {number} at {time}.": "开往{place}的列车{time}从{number}站台发车。",
    "The train from {place} is {number} minutes late.": "来自{place}的列车晚点{number}分钟。",
    "Change at {place} for trains to {other}.": "前往{other}的旅客请在{place}换乘。",
    "This train calls at {place} and {other} only.": "本次列车只停靠{place}和{other}。",
    "Platform {number} is closed until {time}.": "{number}站台关闭至{time}。",
    "There is no service to {place} before {time}.": "{time}之前没有开往{place}的列车。",
    "Passengers for {place} should sit in coach {number}.": "前往{place}的旅客请坐{number}号车厢。",
    "The restaurant car is next to coach {number}.": "餐车在{number}号车厢旁边。",
    "The last bus to {place} leaves at {time}.": "开往{place}的末班车{time}发车。",
    "Tickets to {place} are sold at window {number}.": "开往{place}的车票在{number}号窗口出售。",
}
VOICES = ("en-gb", "en-us", "en-gb-x-rp", "en-gb-scotland")
SPEEDS = (140, 155, 170)  # words a minute
SEED = 1


def sentences(count: int, seed: int = SEED) -> list[tuple[str, str]]:
    """Return so many different sentences with their translations, the same for the same seed."""
    draw, found = random.Random(seed), {}
    patterns = list(SENTENCES)
    while len(found) < count:
        pattern = draw.choice(patterns)
        place, other = draw.sample(list(STATIONS), 2)
        number, time = draw.choice(list(NUMBERS)), draw.choice(list(TIMES))
        english = pattern.format(place=place, other=other, number=number, time=time)
        found[english] = SENTENCES[pattern].format(
            place=STATIONS[place], other=STATIONS[other], number=NUMBERS[number], time=TIMES[time]
        )
    return list(found.items())


def speak(text: str, path: Path, voice: str, speed: int) -> None:
    """Write a sentence as a wav file."""
    subprocess.run(["espeak-ng", "-v", voice, "-s", str(speed), "-w", str(path), text], check=True)


def write(folder: Path, count: int = 120, speak: Callable[[str, Path, str, int], None] = speak) -> Path:
    """Write ``announcements.csv`` and the sounds it names; return its path."""
    (folder / "sounds").mkdir(parents=True, exist_ok=True)
    draw, path = random.Random(SEED), folder / "announcements.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["audio", "text", "translation", "voice"])
        for number, (english, chinese) in enumerate(sentences(count)):
            voice, name = draw.choice(VOICES), f"sounds/{number:03}.wav"
            speak(english, folder / name, voice, draw.choice(SPEEDS))
            writer.writerow([name, english, chinese, voice])
    return path


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    if shutil.which("espeak-ng") is None:
        sys.exit("espeak-ng is not installed; on Debian and Ubuntu: apt-get install espeak-ng")
    print(f"written: {write(Path(sys.argv[1]), *map(int, sys.argv[2:]))}")
