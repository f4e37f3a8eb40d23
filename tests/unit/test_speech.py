"""Speech to text: how a Whisper model is asked, what of an example is learned, which sounds are taken, predicting."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from scipy.io import wavfile
from typer.testing import CliRunner

from tests.task_samples import automatic_speech_recognition as sample
from tests.tiny import tiny_bert, tiny_whisper
from weitiao import load, train
from weitiao.cli.main import app
from weitiao.errors import DataError, ModelError, RecipeError
from weitiao.metrics.speech import SpeechScorer
from weitiao.models import activation_bytes, open_pretrained
from weitiao.preparation import prepare
from weitiao.recipe import ModelSettings, Recipe
from weitiao.records import FILE, LINE, Pretrained
from weitiao.tasks.automatic_speech_recognition import AutomaticSpeechRecognition, SpeechRecognitionOptions
from weitiao.tasks.generation import GenerationOptions
from weitiao.tasks.speech_translation import SpeechTranslation, SpeechTranslationOptions

RATE = 16_000
GERMAN = ["wo steht das Buch", "die Lampe brennt"]
CHINESE = ["把灯打开", "我的书在哪里"]
ENGLISH = ["where is the book", "turn on the light"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pretrained]:
    """A tiny Whisper for English alone and one of several languages."""
    folder = tmp_path_factory.mktemp("whisper")
    texts = [*sample.TEXTS, *CHINESE]
    made = {name: tiny_whisper(folder / name, texts, multilingual=name == "many") for name in ("one", "many")}
    return {name: open_pretrained(ModelSettings(source=str(path)), base=folder) for name, path in made.items()}


def recognition(pretrained: Pretrained, texts: list[str], **options: Any) -> tuple[AutomaticSpeechRecognition, list]:
    task = AutomaticSpeechRecognition(SpeechRecognitionOptions(**options))
    return task.prepare({"train": Dataset.from_dict({"text": texts})}, pretrained)


def translation(pretrained: Pretrained, texts: list[str], **options: Any) -> tuple[SpeechTranslation, list]:
    task = SpeechTranslation(SpeechTranslationOptions(**options))
    return task.prepare({"train": Dataset.from_dict({"translation": texts})}, pretrained)


def tone(seconds: float = 0.3, rate: int = RATE, pitch: float = 440.0) -> np.ndarray:
    return (12_000 * np.sin(2 * np.pi * pitch * np.arange(int(seconds * rate)) / rate)).astype(np.int16)


def features_of(task: Any, pretrained: Pretrained, **columns: list[Any]) -> list[dict[str, Any]]:
    encoded = task.encode(columns, pretrained.reader(64))
    return [dict(zip(encoded, cells, strict=True)) for cells in zip(*encoded.values(), strict=True)]


# --- how a model is asked


@pytest.mark.parametrize(
    ("texts", "options", "prompt"),
    [
        (ENGLISH, {}, "<|startoftranscript|><|en|><|transcribe|><|notimestamps|>"),
        (CHINESE, {}, "<|startoftranscript|><|zh|><|transcribe|><|notimestamps|>"),
        (ENGLISH, {"language": "Chinese"}, "<|startoftranscript|><|zh|><|transcribe|><|notimestamps|>"),
    ],
)
def test_a_multilingual_model_is_told_the_language(models, texts, options, prompt):
    task, findings = recognition(models["many"], texts, **options)
    assert "".join(task.known.prompt) == prompt
    assert not findings
    assert task.options.language == task.known.language == prompt.split("|")[3]


def test_a_model_for_english_alone_is_told_nothing(models):
    task, findings = recognition(models["one"], GERMAN)
    assert (task.known.prompt, task.known.language) == (["<|startoftranscript|>", "<|notimestamps|>"], "en")
    assert not findings
    _, findings = recognition(models["one"], CHINESE)
    assert "English alone" in findings[0].problem


@pytest.mark.parametrize(
    ("texts", "options", "told"),
    [
        (GERMAN, {}, "cannot be told from the texts"),
        (ENGLISH, {"language": "de"}, "no token for the language 'de'"),
        (ENGLISH, {"language": "englisch"}, "Whisper knows no language 'englisch'"),
    ],
)
def test_a_language_that_is_unknown_is_asked_for(models, texts, options, told):
    with pytest.raises(RecipeError, match=told) as raised:
        recognition(models["many"], texts, **options)
    assert raised.value.where == "task.language"


@pytest.mark.parametrize(
    ("texts", "options", "asked", "language"),
    [
        (ENGLISH, {"language": "zh"}, ["<|zh|>", "<|translate|>"], "en"),
        (CHINESE, {"language": "en"}, ["<|zh|>", "<|transcribe|>"], "zh"),
        (GERMAN, {"target_language": "chinese"}, ["<|zh|>", "<|transcribe|>"], "zh"),
    ],
)
def test_a_translation_is_asked_for_by_what_whisper_was_trained_on(models, texts, options, asked, language):
    task, _ = translation(models["many"], texts, **options)
    assert task.known.prompt[1:3] == asked
    assert task.known.language == language


def test_what_a_translation_cannot_be_told_from_is_asked_for(models):
    with pytest.raises(RecipeError, match="spoken") as raised:
        translation(models["many"], ENGLISH)
    assert raised.value.where == "task.language"
    with pytest.raises(RecipeError) as raised:
        translation(models["many"], GERMAN)
    assert raised.value.where == "task.target_language"
    task, findings = translation(models["one"], GERMAN)
    assert "not to translate" in findings[0].problem
    assert (
        task.options
        == type(task)(task.options)
        .prepare({"train": Dataset.from_dict({"translation": GERMAN})}, models["one"])[0]
        .options
    )  # fmt: skip - what a run stores can be prepared again


def test_what_the_training_texts_hold_may_be_written(models):
    quote = models["one"].tokenizer('"', add_special_tokens=False)["input_ids"]
    task, _ = recognition(models["one"], ENGLISH)
    assert task.known.suppressed == quote
    task, _ = recognition(models["one"], ['he said "stop"'])
    assert task.known.suppressed == []
    assert models["one"].tokenizer.eos_token_id in task.known.suppressed_first


def test_texts_longer_than_what_is_generated_are_told(models):
    short = GenerationOptions(max_new_tokens=3)
    _, findings = recognition(models["one"], ["stop", "two coffees and a tea and a book"], generation=short)
    assert "1 of 2 training texts are longer than the 3 tokens" in findings[0].problem


def test_only_whisper_models_are_taken(models, tmp_path):
    bert = open_pretrained(ModelSettings(source=str(tiny_bert(tmp_path))), base=tmp_path)
    with pytest.raises(ModelError, match="a 'bert' model, not a Whisper"):
        recognition(bert, ENGLISH)
    foreign = dataclasses.replace(models["one"], tokenizer=bert.tokenizer)
    with pytest.raises(ModelError, match=r"has no <\|startoftranscript"):
        recognition(foreign, ENGLISH)
    deaf = dataclasses.replace(models["one"], feature_extractor=None)
    with pytest.raises(ModelError, match="does not hear"):
        recognition(deaf, ENGLISH)


# --- what is learned


def test_the_text_and_its_end_are_learned_and_the_control_tokens_are_not(models):
    task, _ = recognition(models["many"], ENGLISH)
    tokenizer = models["many"].tokenizer
    sound = {"array": tone(), "sampling_rate": RATE}
    first, second = features_of(task, models["many"], audio=[sound, sound], text=[" open the window ", "stop"])
    learned = [i for i in first["labels"] if i != -100]
    assert tokenizer.decode(learned) == " open the window<|endoftext|>"
    assert first["labels"][:4] == [-100] * 4
    assert tokenizer.convert_ids_to_tokens(first["input_ids"][:4]) == task.known.prompt
    batch = task.collate([{**first, "row": 0}, {**second, "row": 1}], models["many"].reader(64))
    read, follows = batch.inputs["decoder_input_ids"], batch.labels
    assert read.shape == follows.shape
    assert batch.targets == len(learned) + sum(i != -100 for i in second["labels"])
    for row in range(2):
        said = follows[row][follows[row] != -100]
        assert torch.equal(read[row][4 : 3 + len(said)], said[:-1])  # each is read after it was to be said
    assert (follows[:, :3] == -100).all()
    assert (follows[:, 3] != -100).all()


def test_control_tokens_in_a_text_are_letters(models):
    task, _ = recognition(models["one"], ENGLISH)
    sound = {"array": tone(), "sampling_rate": RATE}
    (feature,) = features_of(task, models["one"], audio=[sound], text=["stop <|en|><|endoftext|> here"])
    special = set(models["one"].tokenizer.all_special_ids) | {models["one"].tokenizer.convert_tokens_to_ids("<|en|>")}
    assert [i for i in feature["labels"] if i in special] == [models["one"].tokenizer.eos_token_id]


def test_chinese_has_no_blank_in_front(models):
    task, _ = recognition(models["many"], CHINESE)
    (feature,) = features_of(task, models["many"], audio=[{"array": tone(), "sampling_rate": RATE}], text=CHINESE[:1])
    assert models["many"].tokenizer.decode([i for i in feature["labels"] if i != -100][:-1]) == CHINESE[0]


def test_scores_follow_the_language(models):
    task, _ = recognition(models["many"], CHINESE)
    scorer = task.scorer()
    assert isinstance(scorer, SpeechScorer)
    scorer.add([{"audio": "clips/a.wav", "text": "把灯打开"}], [{"text": "把灯关开", "loss": 2.0, "tokens": 5}])
    assert scorer.compute()["cer"] == 0.25
    assert scorer.scores().primary == "cer"
    assert scorer.tell({"audio": "clips/a.wav", "text": "把灯打开"}, {"text": "把灯打开"}).given == "a.wav"
    assert recognition(models["many"], ENGLISH)[0].scorer().scores().primary == "wer"


# --- sounds


def test_a_sound_is_the_same_however_it_is_given(models, tmp_path):
    task, _ = recognition(models["one"], ENGLISH)
    path, file = tmp_path / "a.wav", io.BytesIO()
    wavfile.write(path, RATE, tone())
    wavfile.write(file, RATE, tone())
    samples, text = ({"array": array, "sampling_rate": RATE} for array in (tone(), tone().tolist()))
    ways = [str(path), {"bytes": file.getvalue(), "path": None}, file.getvalue(), samples, json.dumps(text)]
    features = [f | {"row": 0} for way in ways for f in features_of(task, models["one"], audio=[way])]
    batch = task.collate(features, models["one"].reader(64))
    heard = batch.inputs["input_features"]
    assert heard.shape == (5, 16, 100)
    assert all(torch.equal(heard[0], other) for other in heard)
    assert batch.labels is None


def test_a_sound_that_is_too_long_is_left_out_or_refused(models):
    task, _ = recognition(models["one"], ENGLISH)
    sounds = [{"array": tone(seconds), "sampling_rate": RATE} for seconds in (0.5, 1.01, 1.0)]
    kept = features_of(task, models["one"], audio=sounds, text=["stop"] * 3)
    assert [feature["row"] for feature in kept] == [0, 2]
    with pytest.raises(DataError, match=r"lasts 1\.01 seconds, the model hears 1 at once") as raised:
        features_of(task, models["one"], audio=sounds)
    assert raised.value.where == "example 2 (audio)"


def test_a_text_that_does_not_fit_has_no_features(models):
    task, _ = recognition(models["one"], ENGLISH)
    sound = {"array": tone(), "sampling_rate": RATE}
    kept = features_of(task, models["one"], audio=[sound, sound], text=["stop here and there " * 20, "stop"])
    assert [feature["row"] for feature in kept] == [1]


def test_what_is_no_sound_is_named_with_its_row(models, tmp_path):
    task, _ = recognition(models["one"], ENGLISH)
    (tmp_path / "notes.wav").write_text("this is no sound")
    columns = {"audio": [str(tmp_path / "notes.wav")], "text": ["stop"], FILE: ["clips.csv"], LINE: [7]}
    with pytest.raises(DataError, match="no sound that can be read") as raised:
        features_of(task, models["one"], **columns)
    assert raised.value.where == "clips.csv:7 (audio)"


def test_features_hold_a_path_and_not_the_sound(models, tmp_path):
    """Half a megabyte of spectrogram an example would be."""
    task, _ = recognition(models["one"], ENGLISH)
    wavfile.write(tmp_path / "a.wav", RATE, tone())
    (feature,) = features_of(task, models["one"], audio=[str(tmp_path / "a.wav")], text=["stop"])
    assert (feature["path"], feature["sound"]) == (str(tmp_path / "a.wav"), b"")


def test_memory_is_estimated_with_all_the_encoder_hears(models):
    short, long = (activation_bytes(models["one"], tokens) for tokens in (5, 50))
    positions, width = models["one"].config.max_source_positions, models["one"].config.d_model
    assert short > 2 * positions * 18 * width * 2  # both layers of the encoder, whatever is said
    assert long > short


# --- runs


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A run on wav files that a csv names from its own folder."""
    folder = tmp_path_factory.mktemp("clips")
    (folder / "sounds").mkdir()
    lines = ["file,sentence"]
    for number, (pitch, text) in enumerate(zip(sample.PITCHES * 2, sample.TEXTS * 2, strict=True)):
        wavfile.write(folder / f"sounds/{number}.wav", 22_050, tone(0.2 + number / 50, 22_050, pitch))
        lines.append(f"sounds/{number}.wav,{text}")
    (folder / "clips.csv").write_text("\n".join(lines))
    tiny_whisper(folder / "model", sample.TEXTS)
    recipe = {
        "task": {"name": "automatic-speech-recognition", "generation": {"max_new_tokens": 8}},
        "model": str(folder / "model"), "method": "lora",
        "data": {"train": str(folder / "clips.csv"), "validation_size": 0.2, "test_size": 0.2},
        "training": {"epochs": 1, "batch_size": 4}, "evaluation": {"bootstrap": 10}, "output": str(folder / "run"),
    }  # fmt: skip
    return train(Recipe(**recipe))


def test_a_run_is_scored_beside_the_untouched_model(run):
    scores = json.loads((run.folder / "scores.json").read_text())["test"]
    assert scores["scores"]["primary"] == "wer"
    assert {"wer", "cer", "perplexity", "loss"} <= set(scores["scores"]["values"])
    assert list(scores["baselines"]) == ["the model before training"]
    assert scores["samples"][0]["before"] is not None


def test_the_artifact_has_what_plain_transformers_needs(run):
    names = {path.name for path in run.artifact.iterdir()}
    assert {"preprocessor_config.json", "tokenizer.json", "generation_config.json", "adapter"} <= names
    stored = json.loads((run.artifact / "generation_config.json").read_text())
    assert stored["max_new_tokens"] == 8
    assert not stored["is_multilingual"]


def test_predicting_from_a_path_and_from_samples(run):
    folder, predictor = run.folder.parent, load(run.artifact)
    path = folder / "sounds/3.wav"
    samples = wavfile.read(path)[1]
    given = {"audio": {"array": samples, "sampling_rate": 22_050}}
    found = predictor.predict([str(path), {"audio": str(path)}, path, given])
    assert all(prediction == found[0] for prediction in found)
    assert set(found[0]) == {"text"}
    with pytest.raises(DataError, match=r"no file 'missing\.wav'"):
        predictor.predict(["missing.wav"])


def command(*words: Any, **options: Any) -> Any:
    return CliRunner().invoke(app, ["predict", *map(str, words)], catch_exceptions=True, **options)


def test_the_command_takes_a_sound(run):
    done = command(run.folder, run.folder.parent / "sounds/3.wav")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == load(run.artifact).predict([str(run.folder.parent / "sounds/3.wav")])[0]


@pytest.mark.parametrize("form", ["csv", "jsonl", "txt"])
def test_the_command_takes_a_file_of_paths_from_its_folder(run, tmp_path, form):
    folder = run.folder.parent
    rows = {"csv": "file,speaker\nsounds/3.wav,ann\nsounds/5.wav,bob\n",
            "jsonl": '{"audio": "sounds/3.wav"}\n{"audio": "sounds/5.wav"}\n',
            "txt": "sounds/3.wav\nsounds/5.wav\n"}  # fmt: skip
    (folder / f"new.{form}").write_text(rows[form])
    done = command(run.folder, folder / f"new.{form}", "--output", tmp_path / "out.jsonl")
    assert done.exit_code == 0, done.output
    written = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert len(written) == 2
    assert all("sounds/" in json.dumps(row) and str(folder) not in json.dumps(row) for row in written)


def test_the_command_names_the_row_of_what_is_no_sound(run):
    folder = run.folder.parent
    (folder / "bad.wav").write_text("no sound")
    (folder / "new.csv").write_text("file\nsounds/3.wav\nbad.wav\n")
    done = command(run.folder, folder / "new.csv")
    assert isinstance(done.exception, DataError)
    assert done.exception.where.endswith("new.csv:3 (audio)")


def test_a_sound_that_is_missing_is_found_before_training(run):
    recipe = run.recipe.to_dict()
    clips = Path(recipe["data"]["train"])
    (clips.parent / "more.csv").write_text(clips.read_text() + "\nsounds/lost.wav,stop here")
    with pytest.raises(DataError, match=r"no file 'lost\.wav'") as raised:
        prepare(Recipe(**{**recipe, "data": {"train": str(clips.parent / "more.csv")}, "output": None}))
    assert raised.value.where == "more.csv:18 (file)"


def test_a_table_of_sounds_in_its_cells(run, tmp_path):
    """As data sets on the Hub hold them: a file's bytes in each row."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = sorted((run.folder.parent / "sounds").iterdir())
    rows = [{"audio": {"bytes": file.read_bytes(), "path": file.name}, "text": f"say {file.stem} and the book"}
            for file in files]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "clips.parquet")
    recipe = run.recipe.to_dict()
    ready = prepare(Recipe(**{**recipe, "data": {"train": str(tmp_path / "clips.parquet")}, "output": None}))
    assert ready.features["train"][0]["sound"][:4] == b"RIFF"
    assert sum(map(len, ready.features.values())) == len(files)
