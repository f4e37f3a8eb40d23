"""New texts by chat models and by translation: what is asked, what is kept, what is dropped."""

from __future__ import annotations

import json
import re
from collections import Counter

import pytest
from pydantic import ValidationError

import weitiao
from tests.chat_server import Reply, serving
from tests.task_samples import recipe_of
from tests.tiny import tiny_t5
from weitiao.errors import DataError, RecipeError
from weitiao.tasks.generation import GenerationOptions
from weitiao.workshop.augment import (
    Answer,
    Asked,
    BackTranslation,
    LocalChat,
    ModelTranslator,
    NewExamples,
    Paraphrase,
    Text,
)
from weitiao.workshop.augment.replies import says_yes, texts_in

FILMS = ["the film was good and we liked it very much", "a bad book that nobody liked at all"]
SAYINGS = ["we enjoyed this good film a great deal", "all of us were fond of that picture, it is fine",
           "what a lovely movie, we had much fun", "nobody enjoyed this awful book one bit",
           "it is a poor novel, and nobody cares for it", "no reader found the novel any good"]  # fmt: skip


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("WEITIAO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("weitiao.chats.endpoint.FIRST_WAIT", 0.01)


class Scripted:
    """A chat that says what a function says."""

    def __init__(self, says, stops_after: int | None = None) -> None:
        self.identity = {"model": "scripted"}
        self.says, self.asked, self.left = says, [], stops_after
        self.stopped = ""

    def answers(self, asked):
        for number, one in reversed(list(enumerate(asked))):  # in no order
            if self.left is not None and self.left <= 0:
                self.stopped = "enough"
                return
            self.left = None if self.left is None else self.left - 1
            self.asked.append(one)
            said = self.says(one.messages[-1]["content"], one)
            yield number, said if isinstance(said, Answer) else Answer(said)


def local(operator=Paraphrase, **options):
    return operator.Options(model="not opened", **options)


def said(*texts: str) -> str:
    return json.dumps(list(texts), ensure_ascii=False)


def whole(*texts: str) -> list[Text]:
    return [Text(text) for text in texts]


# --- replies


@pytest.mark.parametrize(
    ("reply", "texts"),
    [
        ('["a", "b"]', ["a", "b"]),
        ('Sure:\n```json\n["a"]\n```\nDone.', ["a"]),
        ('{"texts": ["a", "b"], "count": 2}', ["a", "b"]),
        ('[{"text": "a"}, {"text": "b", "number": 2}]', ["a", "b"]),
        ('<think>["no"]</think>["a"]', ["a"]),
        ('Here [1] they are: ["a"]', ["a"]),
        ('["a", "b', None),
        ("1. a\n2. b", None),
        ("[]", None),
        ('["a", 3]', None),
        ("[" * 100_000, None),
        ("", None),
    ],
)
def test_texts_of_a_reply(reply, texts):
    assert texts_in(reply) == texts


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [("Yes.", True), ("**No**, B adds", False), ("是", True), ("不是", False), ("否", False), ("Perhaps", None),
     ("", None), ("<think>no</think>yes", True)],
)  # fmt: skip
def test_a_yes_or_a_no(reply, verdict):
    assert says_yes(reply) is verdict


# --- what is asked


def test_a_paraphrase_is_asked_for_in_the_language_of_its_text():
    chat = Scripted(lambda prompt, one: said("x"))
    Paraphrase(local(), chat).rewrite(whole(FILMS[0], "这家酒店的服务非常好"), [2, 1], labels=["good", "好评"])
    english = next(one.messages[-1]["content"] for one in chat.asked if FILMS[0] in one.messages[-1]["content"])
    assert "in 2 different ways" in english
    assert 'labelled "good"' in english
    chinese = next(one.messages[-1]["content"] for one in chat.asked if "酒店" in one.messages[-1]["content"])
    assert "用1种不同的说法" in chinese
    assert "“好评”" in chinese


def test_lines_about_a_label_are_left_out_where_there_is_none():
    chat = Scripted(lambda prompt, one: said("x"))
    Paraphrase(local(), chat).rewrite(whole(FILMS[0]), [1])
    assert "label" not in chat.asked[0].messages[-1]["content"]


def test_braces_in_a_text_are_no_roles():
    chat = Scripted(lambda prompt, one: said("x"))
    text = 'a {label} that is {0} and "quoted"'
    Paraphrase(local(), chat).rewrite(whole(text), [1], labels=["{text}"])
    assert chat.asked[0].messages[-1]["content"].count(text) == 1


def test_new_examples_are_shown_texts_of_their_label():
    texts = [f"good text {number}" for number in range(9)] + [f"bad text {number}" for number in range(9)]
    labels = ["good"] * 9 + ["bad"] * 9
    chat = Scripted(lambda prompt, one: said("nothing like that was there before"))
    NewExamples(local(NewExamples), chat).rewrite(whole(*texts), [1] + [0] * 17, labels=labels)
    shown = json.loads(re.search(r"\[.*\]", chat.asked[0].messages[-1]["content"], re.DOTALL)[0])
    assert shown[0] == "good text 0"
    assert 4 <= len(set(shown)) == len(shown) <= 5
    assert all(text.startswith("good") for text in shown)


def test_a_prompt_of_ones_own():
    chat = Scripted(lambda prompt, one: said("x"))
    Paraphrase(local(prompt="Say {text} {count} times"), chat).rewrite(whole(FILMS[0]), [3])
    assert chat.asked[0].messages[-1]["content"] == f"Say {FILMS[0]} 3 times"


def test_many_new_texts_take_several_questions():
    chat = Scripted(lambda prompt, one: said("x"))
    Paraphrase(local(at_once=4), chat).rewrite(whole(FILMS[0]), [10])
    counts = [re.search(r"in (\d+) different", one.messages[-1]["content"])[1] for one in chat.asked[:3]]
    assert sorted(counts) == ["2", "4", "4"]
    assert len({one.seed for one in chat.asked}) == len(chat.asked)


# --- what is kept


def test_what_is_new_is_kept_and_what_is_not_is_told():
    replies = {
        FILMS[0]: said(SAYINGS[0], FILMS[0].upper(), SAYINGS[0] + "!", "电影很好看", "good", "long " * 60, SAYINGS[1]),
        FILMS[1]: said(SAYINGS[0], SAYINGS[3]),
    }
    chat = Scripted(lambda prompt, one: next(reply for text, reply in replies.items() if text in prompt))
    made = Paraphrase(local(), chat).rewrite(whole(*FILMS), [2, 1], others=["we enjoyed this fine film a lot"])
    assert made.texts == [[SAYINGS[0], SAYINGS[1]], [SAYINGS[3]]]
    assert made.told == {"answers": 2, "made": 3, "repeated": 3, "other language": 1, "odd length": 2}
    assert made.stopped == ""


def test_texts_of_other_splits_are_not_made_anew():
    chat = Scripted(lambda prompt, one: said(SAYINGS[0]))
    made = Paraphrase(local(), chat).rewrite(whole(FILMS[0]), [1], others=[SAYINGS[0].title()])
    assert made.texts == [[]]
    assert made.told["repeated"] == 3


def test_what_is_missing_is_asked_for_again_and_not_for_ever():
    seen = Counter()

    def says(prompt, one):
        seen["asked"] += 1
        return ["no JSON here", "I'm sorry, but I cannot help with that", said(SAYINGS[0])][(seen["asked"] - 1) % 3]

    made = Paraphrase(local(), Scripted(says)).rewrite(whole(FILMS[0]), [2])
    assert made.texts == [[SAYINGS[0]]]
    assert made.told == {"answers": 3, "broken": 1, "refused": 1, "made": 1}


def test_answers_that_never_came_are_told_by_why():
    problems = ["failed", "rejected", "refused"]
    chat = Scripted(lambda prompt, one: Answer(problem=problems.pop()))
    made = Paraphrase(local(), chat).rewrite(whole(FILMS[0]), [1])
    assert made.told == {"answers": 3, "failed": 1, "rejected": 1, "refused": 1, "made": 0}


def test_what_was_made_before_a_stop_is_kept():
    chat = Scripted(lambda prompt, one: said(SAYINGS[0], SAYINGS[1]), stops_after=1)
    made = Paraphrase(local(), chat).rewrite(whole(*FILMS), [1, 1])
    assert (made.texts, made.stopped) == ([[], [SAYINGS[0]]], "enough")
    assert len(chat.asked) == 1


def test_nothing_is_asked_where_nothing_is_wanted():
    chat = Scripted(lambda prompt, one: said("x"))
    assert Paraphrase(local(), chat).rewrite(whole(*FILMS), [0, 0]).texts == [[], []]
    assert Paraphrase(local(), chat).rewrite([], []).texts == []
    assert chat.asked == []


def test_the_same_seed_gives_the_same_and_asks_nothing_twice():
    chat = Scripted(lambda prompt, one: said(SAYINGS[one.seed % 6]))
    first = Paraphrase(local(), chat).rewrite(whole(*FILMS), [2, 2], seed=3)
    asked = len(chat.asked)
    again = Paraphrase(local(), chat).rewrite(whole(*FILMS), [2, 2], seed=3)
    assert (again.texts, len(chat.asked)) == (first.texts, asked)
    assert again.told["remembered"] == asked
    Paraphrase(local(), chat).rewrite(whole(*FILMS), [2, 2], seed=4)
    assert len(chat.asked) > asked


def test_rows_with_the_same_text_are_asked_about_apart():
    chat = Scripted(lambda prompt, one: said(SAYINGS[len(chat.asked) % 6]))
    first = Paraphrase(local(), chat).rewrite(whole(FILMS[0], FILMS[0]), [1, 1])
    assert sum(map(len, first.texts)) == 2
    assert Paraphrase(local(), chat).rewrite(whole(FILMS[0], FILMS[0]), [1, 1]).texts == first.texts
    operator, there, _ = translating(lambda text, seed, at: SAYINGS[at])
    made = operator.rewrite(whole(FILMS[0], FILMS[0]), [1, 1])
    assert made.texts == [[SAYINGS[0]], [SAYINGS[1]]]
    assert operator.rewrite(whole(FILMS[0], FILMS[0]), [1, 1]) == made
    assert len(there.asked) == 2


@pytest.mark.parametrize("rewriter", [BackTranslation, NewExamples, Paraphrase], ids=lambda rewriter: rewriter.name)
def test_texts_with_spans_are_refused(rewriter):
    options = {"there": "x", "back": "y"} if rewriter is BackTranslation else {"model": "x"}
    with pytest.raises(DataError, match=f"text 2: has spans, which {rewriter.name} cannot follow"):
        rewriter(rewriter.Options(**options)).rewrite([Text("a"), Text("see Bob", ((4, 7),))], [1, 1])


@pytest.mark.parametrize(
    "options",
    [{}, {"model": "m", "endpoint": {"base_url": "http://x", "model": "m"}}, {"model": "m", "prompt": "no role"},
     {"model": "m", "prompt": "{texts}"}, {"model": "m", "at_once": 0}],
    ids=str,
)  # fmt: skip
def test_options_that_cannot_be(options):
    with pytest.raises(ValidationError):
        Paraphrase.Options(**options)


# --- judges


def test_a_judge_that_says_no_or_nothing_drops_a_text():
    def says(prompt, one):
        if "Text A:" not in prompt:
            return said(*SAYINGS[:3])
        assert 'label "good"' in prompt
        assert not one.drawn
        verdicts = dict(zip(SAYINGS, ("Yes", "no", "hmm"), strict=False))
        return next(verdict for text, verdict in verdicts.items() if text in prompt)

    made = Paraphrase(local(judge=True), Scripted(says)).rewrite(whole(FILMS[0]), [3], labels=["good"])
    assert made.texts == [[SAYINGS[0]]]
    assert made.told["judged bad"] >= 2
    assert made.told["no verdict"] >= 1


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_model):
    """Task -> a run that has overfitted its eight examples."""
    runs = {}

    def build(task: str, family: str):
        if task not in runs:
            recipe = recipe_of((task, "full", family), tmp_path_factory.mktemp(task), tiny_model)
            runs[task] = weitiao.train(recipe)
        return runs[task]

    return build


def test_a_classifier_that_was_trained_here_judges(trained):
    run = trained("text-classification", "encoder")
    predictor = weitiao.load(run.folder)
    candidates = [*SAYINGS, "awful", "lovely"]
    labels = {text: answer["label"] for text, answer in zip(SAYINGS, predictor.predict(SAYINGS), strict=True)}
    known = predictor.artifact.task.prepared.labels
    chat = Scripted(lambda prompt, one: said(*candidates[:6]))
    options = local(classifier=str(run.folder), at_once=6)
    for label in known:
        made = Paraphrase(options, chat).rewrite(whole(FILMS[0]), [6], labels=[label])
        assert set(made.texts[0]) <= {text for text in SAYINGS if labels[text] == label}
    assert sum(len(Paraphrase(options, chat).rewrite(whole(FILMS[0]), [6], labels=[label]).texts[0]) for label in known)
    with pytest.raises(RecipeError, match="knows no label 'odd'"):
        Paraphrase(options, chat).rewrite(whole(FILMS[0]), [1], labels=["odd"])
    with pytest.raises(DataError, match="have none"):
        Paraphrase(options, chat).rewrite(whole(FILMS[0]), [1])
    with pytest.raises(RecipeError, match="no run"):
        Paraphrase(local(classifier="nowhere"), chat).rewrite(whole(FILMS[0]), [1], labels=["a"])


# --- over the network, and on this machine


def test_by_an_endpoint_with_a_limit_what_was_made_is_kept_and_what_it_took_is_told():
    def script(body, number):
        return Reply(said(SAYINGS[number % 6]), usage=(50, 50))

    with serving(script) as server:
        endpoint = {"base_url": server.url, "model": "m", "prompt_price": 1.0, "completion_price": 2.0,
                    "most_cost": 0.0009, "max_tokens": 60, "together": 1, "temperature": 0.7}  # fmt: skip
        made = Paraphrase(Paraphrase.Options(endpoint=endpoint)).rewrite(whole(*FILMS), [3, 3])
        assert "limit" in made.stopped
        assert sum(map(len, made.texts)) == made.told["made"] >= 1
        assert made.told["cost"] == pytest.approx(150e-6 * len(server.bodies))
        assert made.told["cost"] <= 0.0009
        answers = len(server.bodies)
        more = Paraphrase(Paraphrase.Options(endpoint=endpoint | {"most_cost": 1.0})).rewrite(whole(*FILMS), [3, 3])
    assert more.told["remembered"] == answers
    assert more.stopped == ""


def test_a_local_model_says_what_its_predictor_says(trained):
    run = trained("chat", "decoder")
    asked = [
        Asked(({"role": "user", "content": text},), drawn=False) for text in ("hello", "how are you today", "hello")
    ]
    chat = LocalChat.open(str(run.folder), GenerationOptions(max_new_tokens=8))
    answers = dict(chat.answers(asked))
    wanted = weitiao.load(run.folder).predict([list(one.messages) for one in asked])
    got = [answers[number].text for number in range(3)]
    assert [text[:12] for text in got] == [answer["text"][:12] for answer in wanted]
    assert answers[0].prompt_tokens > 0


def test_a_local_model_as_it_was_pretrained_draws_by_the_seed(tiny_model):
    chat = LocalChat.open(str(tiny_model("decoder")), GenerationOptions(max_new_tokens=8, temperature=1.0))
    asked = [Asked(({"role": "user", "content": "hello"},), seed) for seed in (1, 2, 1)]
    answers = dict(chat.answers(asked))
    again = dict(chat.answers(asked))
    assert sorted(answers) == [0, 1, 2]
    assert answers == again
    assert answers[0].text != answers[1].text
    assert (
        chat.identity
        == LocalChat.open(
            str(tiny_model("decoder")), GenerationOptions(max_new_tokens=8, temperature=1.0, generation_seed=5)
        ).identity
    )


def test_a_tiny_local_model_makes_nothing_and_says_why(tiny_model):
    options = Paraphrase.Options(model=str(tiny_model("decoder")), generation=GenerationOptions(max_new_tokens=8))
    made = Paraphrase(options).rewrite(whole(FILMS[0]), [1])
    assert made.texts == [[]]
    assert made.told["broken"] + made.told.get("refused", 0) == made.told["answers"] == 3


def test_models_that_do_not_chat(tiny_model, trained):
    with pytest.raises(RecipeError, match="writes nothing"):
        LocalChat.open(str(tiny_model("encoder")), GenerationOptions())
    with pytest.raises(RecipeError, match="writes nothing"):
        LocalChat.open(str(trained("text-classification", "encoder").folder), GenerationOptions())
    with pytest.raises(RecipeError, match="trained for translation"):
        LocalChat.open(str(trained("translation", "seq2seq").folder), GenerationOptions())


# --- back-translation


class Dictionary:
    """A translator with a table; counts what it is asked."""

    def __init__(self, table, mark: str) -> None:
        self.table, self.identity, self.asked = table, {"table": mark}, []

    def translate(self, texts, seed):
        self.asked += texts
        return [self.table(text, seed, at) for at, text in enumerate(texts)]


def translating(back, **options):
    there = Dictionary(lambda text, seed, at: f"la {text} {at}", "there")
    home = Dictionary(back, "back")
    return BackTranslation(BackTranslation.Options(there="x", back="y", **options), there, home), there, home


def test_there_and_back_and_only_what_is_new_is_kept():
    backs = {FILMS[0]: [SAYINGS[0], FILMS[0] + "!", SAYINGS[1]], FILMS[1]: ["short", SAYINGS[3]]}

    def back(text, seed, at):
        source = next(film for film in FILMS if film in text)
        return backs[source].pop(0) if backs[source] else ""

    operator, there, _ = translating(back)
    made = operator.rewrite(whole(*FILMS), [2, 1])
    assert made.texts == [[SAYINGS[0], SAYINGS[1]], [SAYINGS[3]]]
    assert made.told == {"made": 3, "repeated": 1, "odd length": 1}
    assert len(there.asked) == 5


def test_what_was_translated_is_kept_and_a_kill_in_between_loses_little(monkeypatch):
    monkeypatch.setattr("weitiao.workshop.augment.back_translation.TOGETHER", 2)
    texts = [f"{FILMS[0]} number {number} {'x' * number}" for number in range(6)]

    def back(text, seed, at):
        if "number 4" in text and not killed:
            killed.append(text)
            raise KeyboardInterrupt
        return " ".join(reversed(text.split()))

    killed: list[str] = []
    operator, _, home = translating(back)
    with pytest.raises(KeyboardInterrupt):
        operator.rewrite(whole(*texts), [1] * 6)
    again, more_there, more_home = translating(back)
    made = again.rewrite(whole(*texts), [1] * 6)
    assert sum(map(len, made.texts)) == 6
    assert more_there.asked == []
    assert len(home.asked) == 6
    assert len(more_home.asked) == 2


def test_without_a_temperature_there_is_one_translation_each():
    operator, there, _ = translating(lambda text, seed, at: SAYINGS[0], generation=GenerationOptions(beams=2))
    made = operator.rewrite(whole(FILMS[0]), [3])
    assert made.texts == [[SAYINGS[0]]]
    assert len(there.asked) == 1


def test_an_empty_translation_goes_no_further():
    there = Dictionary(lambda text, seed, at: "", "empty")
    home = Dictionary(lambda text, seed, at: "x", "home")
    made = BackTranslation(BackTranslation.Options(there="x", back="y"), there, home).rewrite(whole(FILMS[0]), [1])
    assert (made.texts, home.asked) == ([[]], [])
    assert made.told == {"empty": 3, "made": 0}


def test_a_run_of_the_task_translation_translates_as_its_predictor_does(trained):
    run = trained("translation", "seq2seq")
    sources = [FILMS[0], "hello"]
    way = ModelTranslator.open(str(run.folder), "{source}", GenerationOptions(max_new_tokens=128))
    assert way.translate(sources, 0) == [answer["text"] for answer in weitiao.load(run.folder).predict(sources)]
    with pytest.raises(RecipeError, match="trained for chat"):
        ModelTranslator.open(str(trained("chat", "decoder").folder), "{source}", GenerationOptions())


@pytest.mark.parametrize("family", ["seq2seq", "decoder"])
@pytest.mark.parametrize("generation", [{"temperature": 1.0}, {"beams": 2}, {}], ids=["drawn", "beams", "greedy"])
def test_models_as_they_were_pretrained_translate_what_the_prompt_says(family, generation, tiny_model):
    import torch

    options = GenerationOptions(max_new_tokens=6, **generation)
    way = ModelTranslator.open(str(tiny_model(family)), "translate to German: {source}", options)
    assert way.translate([FILMS[0], "hello", FILMS[0]], 5) == way.translate([FILMS[0], "hello", FILMS[0]], 5)
    if generation == {} and family == "seq2seq":
        from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(tiny_model(family))
        model = AutoModelForSeq2SeqLM.from_pretrained(tiny_model(family)).eval()
        inputs = tokenizer(f"translate to German: {FILMS[0]}", return_tensors="pt")
        with torch.inference_mode():
            output = model.generate(**inputs, max_new_tokens=6, do_sample=False)
        wanted = tokenizer.decode(output[0], skip_special_tokens=True).strip()
        assert way.translate([FILMS[0]], 0) == [wanted]


def test_the_operator_opens_two_models_and_goes_on_from_what_is_kept(tmp_path):
    there, back = tiny_t5(tmp_path / "there"), tiny_t5(tmp_path / "back", seed=1)
    options = BackTranslation.Options(
        there=str(there), back=str(back), length_ratio=1000.0,
        generation=GenerationOptions(max_new_tokens=12, temperature=1.5),
    )  # fmt: skip
    first = BackTranslation(options).rewrite(whole(*FILMS), [2, 2], seed=1)
    assert first.told["made"] == sum(map(len, first.texts))
    assert BackTranslation(options).rewrite(whole(*FILMS), [2, 2], seed=1) == first
