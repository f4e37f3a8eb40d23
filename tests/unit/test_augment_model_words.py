"""Near words from models: whole words of a vocabulary, masked language models, embeddings."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiny import TEXTS, tiny_bert, tiny_gpt2, tiny_masked_bert, tiny_masked_roberta
from weitiao.errors import ModelError, RecipeError
from weitiao.tasks.segmenting import jieba_is_there
from weitiao.workshop.augment import EmbeddingNeighbours, InsertWords, MaskedNeighbours, ReplaceWords, Text, rows
from weitiao.workshop.augment.units import words
from weitiao.workshop.augment.whole_words import HAN, WholeWords, is_form, is_function_word, script_of

WORDS = (*TEXTS, "The Film was never good", "电影很好看", "酒店非常干净")


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_masked_bert(tmp_path_factory.mktemp("bert"), WORDS, initializer_range=0.5)


@pytest.fixture(scope="module")
def roberta(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_masked_roberta(tmp_path_factory.mktemp("roberta"), [f" {text}" for text in WORDS * 3])


@pytest.fixture(scope="module")
def masked(bert: Path) -> MaskedNeighbours:
    return MaskedNeighbours.open(str(bert))


@pytest.fixture(autouse=True)
def _all_words_are_related(monkeypatch, request):
    """The embeddings of random models say nothing."""
    if "related" not in request.node.name:
        monkeypatch.setattr("weitiao.workshop.augment.model_neighbours.RELATED", -1.0)


def places(text: str, chinese: str = "characters") -> list[tuple[int, int]]:
    return words(text, chinese)


# --- what a vocabulary has


def test_whole_words_of_a_word_piece_vocabulary(masked):
    known = WholeWords(masked._reader.tokenizer)
    latin = known.of("LATIN").words
    assert {"film", "service", "a", "i"} <= set(latin)
    assert not [word for word in latin if "#" in word or (len(word) == 1 and word not in "ai")]
    assert not {"never", "nobody", "not"} & set(latin)
    assert set("电影酒店") <= set(known.of(HAN, 1).words)
    assert "不" not in known.of(HAN, 1).words


def test_whole_words_of_a_byte_level_vocabulary_begin_with_a_blank(roberta):
    from weitiao.models import open_reader

    tokenizer = open_reader(roberta, 64).tokenizer
    known = WholeWords(tokenizer)
    found = known.of("LATIN")
    assert "film" in found.words
    for ids, word in zip(found.ids[:, 0].tolist(), found.words, strict=True):
        assert tokenizer.decode([ids]) == f" {word}"


def test_numbers_negations_and_mixed_scripts_have_no_like(masked):
    known = WholeWords(masked._reader.tokenizer)
    for word in ("3", "not", "don't", "u.s.", "filмs", "不", "never"):
        assert known.like(word).words == ()
    assert script_of("film") == "LATIN"
    assert script_of("电影") == HAN
    assert script_of("фильм") == "CYRILLIC"
    assert script_of("") is None


@pytest.mark.skipif(not jieba_is_there(), reason="jieba is not installed")
def test_chinese_words_are_spelled_by_the_characters_of_the_vocabulary(masked):
    known = WholeWords(masked._reader.tokenizer).like("酒店")
    assert known.tokens == 2
    assert "电影" in known.words
    assert all(len(word) == 2 for word in known.words)


@pytest.mark.parametrize(
    ("one", "other", "form"),
    [("film", "films", True), ("arrive", "arriving", True), ("film", "movie", False), ("电影", "电视", False),
     ("电影", "电影", True)],
)  # fmt: skip
def test_forms_of_a_word(one, other, form):
    assert is_form(one, other) is form


def test_function_words():
    assert is_function_word("The")
    assert is_function_word("的")
    assert not is_function_word("film")
    assert not is_function_word("电影")


# --- a masked language model


def test_a_masked_model_gives_its_likeliest_whole_words(masked, bert):
    """The same numbers as plain `transformers` with the mask in the place."""
    import torch
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    text = "the film was good and we liked it very much"
    (near,) = masked.near(text, [(4, 8)])
    tokenizer, model = AutoTokenizer.from_pretrained(bert), AutoModelForMaskedLM.from_pretrained(bert).eval()
    inputs = tokenizer("the [MASK] was good and we liked it very much", return_tensors="pt")
    with torch.inference_mode():
        chances = model(**inputs).logits[0, 2].softmax(-1)
    assert near
    assert "film" not in [word for word, _ in near]
    known = WholeWords(tokenizer).of("LATIN")
    known_chances = dict(zip(known.words, chances[known.ids[:, 0]].tolist(), strict=True))
    others = [word for word in known_chances if word != "film" and not is_function_word(word)]
    assert near[0][0] == max(others, key=lambda word: known_chances[word])
    for word, weight in near:
        assert weight == pytest.approx(float(chances[tokenizer.convert_tokens_to_ids(word)]), rel=1e-4)


def test_words_that_are_not_related_do_not_count_however_likely(masked, monkeypatch):
    monkeypatch.setattr("weitiao.workshop.augment.model_neighbours.RELATED", 0.2)
    text, place = "the film was good", (4, 8)
    (few,) = masked.near(text, [place])
    monkeypatch.setattr("weitiao.workshop.augment.model_neighbours.RELATED", -1.0)
    (many,) = masked.near(text, [place])
    spelled = masked._words.like("film")
    cosines = dict(zip(spelled.words, masked._directions.cosines("film", spelled), strict=True))
    assert many
    assert set(few) >= {(word, weight) for word, weight in many if cosines[word] >= 0.2}
    assert all(cosines[word] >= 0.2 for word, _ in few)
    assert any(cosines[word] < 0.2 for word, _ in many)


def test_what_is_put_in_does_not_stand_beside_itself(masked):
    text = "we liked it very much and the room"
    for at in (8, 11, 16, 21):
        (near,) = masked.near(text, [(at, at)])
        before, after = text[:at].split()[-1], text[at:].split()[0]
        assert not {before, after} & {word for word, _ in near}


def test_places_together_give_what_each_gives_alone(masked):
    text = "the service in this hotel is great but the room was too small"
    all_places = places(text)
    together = masked.near(text, all_places)
    for place, near in zip(all_places, together, strict=True):
        (alone,) = masked.near(text, [place])
        assert [word for word, _ in alone] == [word for word, _ in near]
        assert [weight for _, weight in alone] == pytest.approx([weight for _, weight in near], rel=1e-3)
    assert masked.near(text, all_places) == together
    assert masked.near(text, []) == []


def test_words_of_several_pieces_and_capitals(masked):
    text = "the Bookish film was good"  # `Bookish` is no piece of the vocabulary
    (near,) = masked.near(text, [(4, 11)])
    assert near
    assert all(word[0].isupper() for word, _ in near)
    (shouted,) = masked.near("the FILM was good", [(4, 8)])
    assert all(word.isupper() for word, _ in shouted)


def test_a_mask_that_somebody_wrote_is_not_the_place(masked):
    plain = masked.near("a [MASK] is good", [(12, 16)])
    assert plain == masked.near("a [MASK] is good", [(12, 16)])
    ids, masks = masked._hidden("a [MASK] is good", (12, 16), 1)
    assert len(masks) == 1
    assert masks[0] == len(ids) - 2


def test_a_long_text_is_read_around_the_place(masked):
    text = "the film was good " * 60
    for at in (0, 30, 59):
        start = at * 18 + 4
        assert text[start : start + 4] == "film"
        ids, masks = masked._hidden(text, (start, start + 4), 1)
        assert len(ids) == 64
        assert ids[masks[0]] == masked._reader.tokenizer.mask_token_id
        (near,) = masked.near(text, [(start, start + 4)])
        assert near


def test_empty_places_are_filled_in_their_script(masked):
    english, chinese = masked.near("the film电影", [(3, 3), (10, 10)])
    assert all(script_of(word) == "LATIN" for word, _ in english)
    assert all(script_of(word) == HAN for word, _ in chinese)


@pytest.mark.skipif(not jieba_is_there(), reason="jieba is not installed")
def test_chinese_words_of_two_characters_are_read_into_two_masks(bert):
    import math

    import torch
    from transformers import AutoModelForMaskedLM, AutoTokenizer

    neighbours = MaskedNeighbours.open(str(bert))
    text = "酒店非常干净"
    spelled = neighbours._words.like("酒店")
    (near,) = neighbours.near(text, [(0, 2)])
    tokenizer, model = AutoTokenizer.from_pretrained(bert), AutoModelForMaskedLM.from_pretrained(bert).eval()
    with torch.inference_mode():
        logs = model(**tokenizer("[MASK][MASK]非常干净", return_tensors="pt")).logits[0].log_softmax(-1)
    for word, weight in near:
        assert word in spelled.words
        one, other = tokenizer.convert_tokens_to_ids(list(word))
        assert weight == pytest.approx(math.exp(float(logs[1, one] + logs[2, other])), rel=1e-3)


def test_a_byte_level_model_reads_words_with_their_blank(roberta):
    near = MaskedNeighbours.open(str(roberta)).near("the film was good", [(4, 8), (9, 9)])
    assert all(near)
    assert all(word == word.strip() and word.isalpha() for found in near for word, _ in found)


@pytest.mark.parametrize("build", [tiny_bert, tiny_gpt2], ids=["no head", "no mask"])
def test_a_model_that_predicts_no_masked_words_is_refused(build, tmp_path):
    with pytest.raises(ModelError, match="predicts no masked words"):
        MaskedNeighbours.open(str(build(tmp_path / "m")))


# --- embeddings


def test_embeddings_give_the_nearest_by_cosine(bert):
    import numpy as np
    import torch
    from transformers import AutoModel, AutoTokenizer

    neighbours = EmbeddingNeighbours.open(str(bert))
    matrix = AutoModel.from_pretrained(bert).get_input_embeddings().weight.detach().clone()
    tokenizer = AutoTokenizer.from_pretrained(bert)
    film, movie = (tokenizer.convert_tokens_to_ids(word) for word in ("film", "service"))
    matrix[movie] = matrix[film] + 0.1 * torch.randn(matrix.shape[1], generator=torch.Generator().manual_seed(0))
    neighbours = EmbeddingNeighbours(matrix.numpy(), WholeWords(tokenizer))
    (near,) = neighbours.near("a Film", [(2, 6)])
    assert near[0][0] == "Service"
    ids = WholeWords(tokenizer).of("LATIN").ids[:, 0]
    kept = matrix.numpy()[ids] - matrix.numpy()[ids].mean(0)
    one, other = kept[ids.tolist().index(film)], kept[ids.tolist().index(movie)]
    assert near[0][1] == pytest.approx(one @ other / np.linalg.norm(one) / np.linalg.norm(other), rel=1e-5)
    assert neighbours.near("a Film", [(2, 6)]) == [near]


def test_embeddings_know_nothing_of_function_words_and_words_of_several_pieces(bert):
    neighbours = EmbeddingNeighbours.open(str(bert))
    assert neighbours.near("the filmish 3", [(0, 3), (4, 11), (12, 13)]) == [(), (), ()]


# --- in the operators


@pytest.mark.parametrize("operator", [ReplaceWords, InsertWords])
@pytest.mark.parametrize("kind", ["masked", "embedding"])
@pytest.mark.parametrize("text", ["The film was good, and we liked it very much.", "酒店非常干净，电影很好看。"])
def test_the_operators_take_a_model_by_its_name(operator, kind, text, bert):
    options = operator.Options(neighbours=kind, model=str(bert), chinese="characters", rate=0.3)
    change = operator(options)
    for row in range(5):
        given = Text(text, ((4, 8),) if text[0] == "T" else ((0, 2),))
        changed = change(given, rows(0, row, 0))
        assert changed == operator(options)(given, rows(0, row, 0))
        if changed is not None:
            assert changed.text != text
            assert [changed.text[a:b] for a, b in changed.spans] == [text[a:b] for a, b in given.spans]


def test_a_model_is_loaded_when_it_is_first_asked_for(tmp_path):
    change = ReplaceWords(ReplaceWords.Options(neighbours="masked", model=str(tmp_path / "nowhere")))
    with pytest.raises(Exception, match="nowhere"):
        change(Text("a good film"), rows(0, 0, 0))


def test_only_as_many_places_are_asked_about_as_are_replaced():
    asked = []

    class Counting:
        fills = True

        @staticmethod
        def near(text, places):
            asked.extend(places)
            return [(("other", 1.0),) if text[start] not in "at" else () for start, end in places]

    text = "we liked the film and the room in this hotel and the service was great"
    changed = ReplaceWords(ReplaceWords.Options(rate=0.1), Counting())(Text(text), rows(0, 0, 0))
    replaced = changed.text.count("other")
    assert replaced >= 1
    known = [place for place in asked if text[place[0]] not in "at"]
    assert len(known) == replaced
    assert len(asked) == len(set(asked))


def test_a_model_that_is_not_named(tmp_path):
    with pytest.raises(RecipeError, match="needs a model"):
        ReplaceWords(ReplaceWords.Options(neighbours="embedding"))
