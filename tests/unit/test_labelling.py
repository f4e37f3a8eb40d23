"""A labelling project: what is on disk, what stands after all acts, who gets which row."""

from __future__ import annotations

import json
import multiprocessing
import resource
from pathlib import Path

import pytest

from tests.labelling import TEXTS, desk, give, pool, project, recipe
from weitiao.errors import DataError, RecipeError, RunError, WeitiaoError
from weitiao.labelling.acts import Act
from weitiao.labelling.desk import Desk, Given
from weitiao.labelling.log import Log
from weitiao.labelling.project import open_project, read_project
from weitiao.labelling.state import State

# --- the log


def append(path: Path, *acts: Act) -> None:
    Log(path).append(lambda _: acts)


def test_a_line_that_was_cut_short_is_cut_off_and_nothing_else(tmp_path):
    path = tmp_path / "labels.jsonl"
    first, second = Act("skip", "anna", "1"), Act("skip", "anna", "2")
    append(path, first)
    whole = path.read_bytes()
    for torn in (second.line().encode()[:30], "笔".encode()[:1], b"{"):
        path.write_bytes(whole + torn)
        assert Log(path).news() == [first]
        append(path, second)
        assert Log(path).news() == [first, second]
    path.write_bytes(b'{"act": "sk')  # the very first line
    append(path, second)
    assert Log(path).news() == [second]


def test_a_damaged_line_in_the_middle_is_told_with_file_and_line(tmp_path):
    path = tmp_path / "labels.jsonl"
    append(path, Act("skip", "anna", "1"))
    unknown = b'{"act": "skp", "annotator": "a", "time": "", "id": "1"}\n'
    bare = b'{"act": "skip", "annotator": "a"}\n'
    for wrong, told in ((b"nonsense\n", "is not JSON"), (b"\xff\n", "is not UTF-8"), (b"[]\n", "not a JSON object"),
                        (bare, "has no 'id'"), (unknown, "unknown act 'skp'")):  # fmt: skip
        damaged = tmp_path / "damaged.jsonl"
        damaged.write_bytes(path.read_bytes() + wrong + path.read_bytes())
        with pytest.raises(DataError, match=told) as error:
            Log(damaged).news()
        assert error.value.where == "damaged.jsonl:2"


def test_each_process_hears_what_others_wrote(tmp_path):
    one, other = Log(tmp_path / "labels.jsonl"), Log(tmp_path / "labels.jsonl")
    first, second = Act("skip", "anna", "1"), Act("skip", "bob", "2")
    assert one.append(lambda news: [first] if news == [] else []) == [first]
    assert other.append(lambda news: [second] if news == [first] else []) == [first, second]
    assert one.news() == [second]
    assert one.news() == []


def _write_many(path: Path, name: str, count: int) -> None:
    for number in range(count):
        append(path, Act("note", name, str(number), note="笔" * 500))


def test_several_processes_write_at_once_and_no_line_is_mixed_or_lost(tmp_path):
    path = tmp_path / "labels.jsonl"
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_write_many, args=(path, name, 25)) for name in "abc"]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    found = Log(path).news()
    assert len(found) == 75
    for name in "abc":
        assert [act.row for act in found if act.annotator == name] == [str(number) for number in range(25)]


def test_a_disk_that_is_full_is_told_and_what_was_kept_stays(tmp_path, monkeypatch):
    path = tmp_path / "labels.jsonl"
    first = Act("skip", "anna", "1")
    append(path, first)

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RunError, match="No space left"):
        append(path, Act("skip", "anna", "2"))
    monkeypatch.undo()
    assert Log(path).news() == [first]


def _append_to_a_small_file(path: Path, most: int, *acts: Act) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    with pytest.raises(RunError, match="cannot be written"):
        append(path, *acts)


def test_of_acts_that_are_cut_off_by_a_full_disk_none_stays(tmp_path):
    path = tmp_path / "labels.jsonl"
    first, *others = (Act("note", "anna", str(number), note="笔" * 9) for number in range(4))
    append(path, first)
    most = path.stat().st_size + len(others[0].line().encode()) + 20  # within the second line of three
    child = multiprocessing.get_context("fork").Process(target=_append_to_a_small_file, args=(path, most, *others))
    child.start()
    child.join()
    assert child.exitcode == 0
    assert Log(path).news() == [first]


# --- what stands


def test_an_undo_takes_the_last_act_of_one_labeller_back():
    acts = [Act("label", "anna", "1", answer="a"), Act("label", "bob", "1", answer="b"),
            Act("label", "anna", "1", answer="c"), Act("note", "anna", "1", note="hm")]  # fmt: skip
    state = State().add(acts)
    assert state.answers("1") == {"anna": "c", "bob": "b"}
    for undone, answers in ((acts[3], {"anna": "c", "bob": "b"}), (acts[2], {"anna": "a", "bob": "b"}),
                            (acts[0], {"bob": "b"})):  # fmt: skip
        assert state.last("anna") == undone
        state.add([Act("undo", "anna", undone.row, undoes=undone.id)])
        assert state.answers("1") == answers
    assert state.last("anna") is None
    assert state.note("1", "anna") == ""


def test_the_state_is_a_fold_however_the_acts_are_cut_and_the_same_act_counts_once():
    acts = [Act("label", name, row, answer=row + name) for row in "123" for name in ("anna", "bob")]
    acts.append(Act("undo", "bob", "2", undoes=acts[3].id))
    whole = State().add([*acts, *acts])
    assert State().add(acts[:3]).add(acts[3:]) == whole
    assert whole.answers("2") == {"anna": "2anna"}


def test_the_majority_holds_a_tie_does_not_and_an_adjudication_always():
    acts = [Act("label", "anna", "1", answer=["x", "y"]), Act("label", "bob", "1", answer=["y", "x"]),
            Act("label", "carl", "1", answer=["x"])]  # fmt: skip
    settled = State().add(acts).settled("1")
    assert (settled.answer, settled.by, settled.adjudicated) == (["x", "y"], ("anna", "bob"), False)
    assert State().add(acts).is_disputed("1")
    assert State().add(acts[1:]).settled("1") is None
    ruled = State().add([*acts[1:], Act("adjudicate", "dora", "1", answer=[])])
    assert (ruled.settled("1").answer, ruled.settled("1").adjudicated, ruled.is_disputed("1")) == ([], True, False)


def test_texts_that_differ_in_width_and_spaces_alone_are_the_same_answer_everywhere(tmp_path):
    at = desk(tmp_path, "translation", labels=(), data={"columns": {"source": "text"}})
    for name, text in (("anna", "so  so"), ("bob", "ｓｏ so"), ("carl", "bad")):
        give(at, "<b>so so</b>", text, name)
    found = at.progress()["agreement"]
    assert (found["disputed"], found["observed"]) == (1, pytest.approx(1 / 3))
    [row] = at.now().rows()
    assert (at.now().settled(row).answer, at.now().settled(row).by) == ("so  so", ("anna", "bob"))
    at.undo("carl")
    assert at.progress()["agreement"]["disputed"] == 0
    assert at.next("dora", disputed=True) is None


# --- the project


def test_ids_stay_as_the_pool_grows_and_is_sorted_anew(tmp_path):
    first = project(tmp_path)
    assert len(first.pool.by_id) == len(TEXTS)  # the same text twice is two rows
    ids = {row.id: row.text for row in first.pool}
    pool(tmp_path, ("a new one", *reversed(TEXTS)))
    again = open_project(str(tmp_path / "pool.csv"), folder=tmp_path / "labels/pool")
    assert {row.id: row.text for row in again.pool if row.text != "a new one"} == ids


def test_a_pool_that_lost_a_labelled_row_is_refused(tmp_path):
    give(desk(tmp_path), "a bad meal", "bad")
    pool(tmp_path, TEXTS[:-1])
    with pytest.raises(DataError, match="1 rows that were labelled are not in it"):
        open_project(str(tmp_path / "pool.csv"), folder=tmp_path / "labels/pool")
    pool(tmp_path, TEXTS[1:])  # a row without a label may go
    open_project(str(tmp_path / "pool.csv"), folder=tmp_path / "labels/pool")


def test_a_project_is_opened_again_with_other_settings_and_more_labels(tmp_path):
    made = project(tmp_path, settings={"every": 7})
    again = project(tmp_path, labels=("odd",), settings={"overlap": 0.5})
    assert again.labels == (*made.labels, "odd")
    assert (again.settings.every, again.settings.overlap) == (7, 0.5)
    assert read_project(tmp_path / "labels/pool").settings == again.settings
    for option, name in (("--strategy", "strategy"), ("--cold-start", "cold")):
        with pytest.raises(RecipeError, match="unknown strategy 'k-centre'") as error:
            project(tmp_path, settings={name: "k-centre"})
        assert error.value.where == option
    assert read_project(tmp_path / "labels/pool").settings == again.settings


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda at: open_project(str(pool(at)), folder=at / "p"), "needs a recipe"),
        (lambda at: project(at, labels=()), "no labels to give"),
        (lambda at: project(at, settings={"overlap": 2.0}), "found 2"),
        (lambda at: project(at, settings={"strategy": "magrin"}), "unknown strategy 'magrin'"),
        (lambda at: project(at, settings={"cold": "margin"}), "'margin' asks a trained model"),
        (
            lambda at: project(
                at, "translation", (), data={"columns": {"source": "text"}}, settings={"strategy": "margin"}
            ),
            "'margin' goes by probabilities",
        ),
        (lambda at: project(at, "text-regression"), "text-regression cannot be labelled"),
        (lambda at: project(at, "chat"), "chat cannot be labelled"),
        (lambda at: project(at, labels=("two\nlines",), source=pool(at)).labels == ("two lines",) or None, None),
    ],
)
def test_what_cannot_be_begun_is_told_and_leaves_nothing(tmp_path, make, told):
    if told is None:
        make(tmp_path)
        return
    with pytest.raises(WeitiaoError, match=told):
        make(tmp_path)
    assert not (tmp_path / "labels/pool").exists()
    assert not (tmp_path / "p").exists()


def test_a_project_of_another_recipe_is_refused(tmp_path):
    project(tmp_path)
    (tmp_path / "other.json").write_text(json.dumps({"task": "text-classification", "model": "another", "data": "x"}))
    from weitiao.recipe import Recipe

    with pytest.raises(RunError, match="of another recipe"):
        open_project(str(tmp_path / "pool.csv"), Recipe.read(tmp_path / "other.json"), folder=tmp_path / "labels/pool")
    with pytest.raises(RunError, match="holds other files"):
        open_project(str(tmp_path / "pool.csv"), recipe(tmp_path), folder=tmp_path)


def test_the_recipe_s_own_data_are_taken_over_with_their_labels(tmp_path):
    pool(tmp_path)
    (tmp_path / "seed.csv").write_text("review,stars\nfine,5\nawful,1\nso,3\n")
    (tmp_path / "test.csv").write_text("review,stars\nlovely,5\n")
    columns = {"text": "review", "label": "stars"}
    made = project(tmp_path, labels=("9",), data={"train": str(tmp_path / "seed.csv"), "columns": columns,
                                                  "test": str(tmp_path / "test.csv")})  # fmt: skip
    assert made.labels == ("9", "1", "3", "5")
    assert made.seeded == {"train": 3, "test": 1}
    assert [row["label"] for row in made.seed("train")] == ["5", "1", "3"]
    assert (made.pool.columns, made.kind.name) == ({"text": "text"}, "label")


# --- the desk


def test_two_labellers_get_different_rows_and_each_the_same_until_it_is_done(tmp_path):
    at = desk(tmp_path)
    anna, bob = at.next("anna"), at.next("bob")
    assert anna["row"] != bob["row"]
    assert at.next("anna") == anna
    at.take(Given("label", "anna", anna["row"], answer="good"))
    assert at.next("anna")["row"] not in (anna["row"], bob["row"])


def test_whoever_adds_a_label_keeps_the_row_that_they_have_before_them(tmp_path):
    at = desk(tmp_path)
    anna = at.next("anna")["row"]
    at.take(Given("new-label", "anna", answer="odd"))
    assert at.next("bob")["row"] != anna
    assert at.next("anna")["row"] == anna
    assert at.progress()["known"] == ["good", "bad", "odd"]


def test_all_rows_come_once_and_skipped_ones_not_again_to_the_same_person(tmp_path):
    at = desk(tmp_path)
    skipped = at.next("anna")["row"]
    at.take(Given("skip", "anna", skipped))
    seen = []
    while (example := at.next("anna")) is not None:
        seen.append(example["row"])
        at.take(Given("label", "anna", example["row"], answer="good"))
    assert sorted([*seen, skipped]) == sorted(at.project.pool.by_id)
    assert at.next("bob")["row"] == skipped


def test_overlap_shows_rows_to_two_people_and_no_more(tmp_path):
    at = desk(tmp_path, settings={"overlap": 1.0})
    counts = dict.fromkeys(at.project.pool.by_id, 0)
    for name in ("anna", "bob", "carl"):
        while (example := at.next(name)) is not None:
            counts[example["row"]] += 1
            at.take(Given("label", name, example["row"], answer="good"))
    assert set(counts.values()) == {2}


def test_disagreements_are_ruled_on(tmp_path):
    at = desk(tmp_path, settings={"overlap": 1.0})
    give(at, "a bad meal", "bad")
    give(at, "a bad meal", "good", "bob")
    example = at.next("carl", disputed=True)
    assert (example["text"], example["answers"]) == ("a bad meal", {"anna": "bad", "bob": "good"})
    at.take(Given("adjudicate", "carl", example["row"], answer="bad"))
    assert at.next("carl", disputed=True) is None
    assert at.now().settled(example["row"]).answer == "bad"


def test_a_disagreement_that_is_passed_over_gives_way_to_the_next_one_and_stays_one(tmp_path):
    at = desk(tmp_path)
    for text in ("a bad meal", "<b>so so</b>"):
        give(at, text, "bad")
        give(at, text, "good", "bob")
    first = at.next("anna", disputed=True)["row"]
    second = at.next("anna", disputed=True, passed=first)["row"]
    assert first != second
    assert at.next("anna", disputed=True)["row"] == second
    assert at.next("bob", disputed=True)["row"] == first
    assert at.next("anna", disputed=True, passed=second) is None
    assert at.next("anna", disputed=True)["row"] == first  # all anew
    assert at.progress()["agreement"]["disputed"] == 2


def test_a_name_is_the_same_whatever_its_spaces(tmp_path):
    at = desk(tmp_path)
    row = at.next("Anna  Smith")["row"]
    assert at.next("bob")["row"] != row
    at.take(Given("label", " Anna Smith", row, answer="good"))
    assert at.next("Anna  Smith")["row"] != row
    assert at.example(row, "Anna  Smith")["answer"] == "good"
    assert at.find(at.project.pool.by_id[row].text, "Anna  Smith")[0]["done"]["answer"] == "good"
    assert at.progress("Anna  Smith")["own"] == 1
    assert at.undo("Anna  Smith").row == row
    with pytest.raises(DataError, match="annotator"):
        at.next(" ")


def test_what_is_sent_twice_is_answered_twice_and_counts_once(tmp_path):
    at = desk(tmp_path)
    row, added, label = at.next("anna")["row"], "a" * 32, "b" * 32
    for _ in range(2):
        assert at.take(Given("new-label", "anna", answer="odd", id=added)).answer == "odd"
    given = [at.take(Given("label", "anna", row, answer="odd", id=label)) for _ in range(2)]
    assert given[0] == given[1]
    assert [at.undo("anna", "c" * 32) for _ in range(2)] == given
    assert [act.act for act in at.project.log.news()] == ["new-label", "label", "undo"]


def test_an_undo_shows_the_row_again_and_a_new_desk_knows_all(tmp_path):
    at = desk(tmp_path)
    give(at, "a bad meal", "bad", seconds=2.5)
    row = at.undo("anna").row
    assert at.example(row, "anna")["done"] == {}
    assert at.undo("anna") is None
    give(at, "a bad meal", "good")
    give(at, "a bad meal", None, act="note", note="hm")
    again = Desk(read_project(tmp_path / "labels/pool"), trains=False)
    assert again.example(row, "anna")["answer"] == "good"
    assert again.example(row, "anna")["note"] == "hm"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"answer": "goood"}, "unknown label 'goood'"),
        ({"answer": None}, "unknown label None"),
        ({"row": "nowhere"}, "there is no row 'nowhere'"),
        ({"annotator": " \n"}, "found ' "),
        ({"act": "new-label", "answer": "good"}, "is there already"),
        ({"act": "note", "note": "so \ud83d"}, "character 4 is half of one"),
    ],
)
def test_what_cannot_be_kept_is_not(tmp_path, given, told):
    at = desk(tmp_path)
    row = next(iter(at.project.pool)).id
    with pytest.raises(DataError, match=told):
        at.take(Given(**{"act": "label", "annotator": "anna", "row": row, **given}))
    assert at.project.log.news() == []


def test_a_label_that_is_added_can_be_given_at_once(tmp_path):
    at = desk(tmp_path)
    at.take(Given("new-label", "anna", answer="odd  one"))
    give(at, "a bad meal", "odd one")
    assert at.about()["labels"] == ["good", "bad", "odd one"]
    assert at.progress("anna")["labels"] == {"odd one": 1}


def test_texts_are_found_whatever_their_case_and_width(tmp_path):
    at = desk(tmp_path)
    assert [row["text"] for row in at.find("BAD meal", "anna")] == ["a bad meal"]
    assert [row["text"] for row in at.find("酒店", "anna")] == ["这家酒店很好 😀"]
    assert at.find(" ", "anna") == []


# --- kinds


def test_several_labels_are_kept_in_the_order_of_the_set(tmp_path):
    at = desk(tmp_path, several=True)
    give(at, "a bad meal", ["bad", "good", "bad"])
    give(at, "<b>so so</b>", [])
    assert [act.answer for act in at.project.log.news()] == [["good", "bad"], []]
    with pytest.raises(DataError, match="not a list"):
        give(at, "a bad meal", "bad")


def test_spans_are_characters_of_the_text_and_are_checked(tmp_path):
    at = desk(tmp_path, "token-classification", labels=("PLACE", "MOOD"))
    text = "这家酒店很好 😀"
    spans = [{"start": 7, "end": 8, "type": "MOOD"}, {"start": 2, "end": 4, "type": "PLACE"}]
    give(at, text, spans)
    assert at.project.log.news()[0].answer == [spans[1], spans[0]]
    assert [text[s["start"] : s["end"]] for s in spans] == ["😀", "酒店"]
    for wrong, told in (([{"start": 2, "end": 99, "type": "MOOD"}], "has 8 characters"),
                        ([{"start": 0, "end": 2, "type": "X"}], "unknown label 'X'"),
                        ([*spans, {"start": 3, "end": 5, "type": "MOOD"}], "overlap")):  # fmt: skip
        with pytest.raises(DataError, match=told):
            give(at, text, wrong)


def test_a_text_is_given_to_a_task_that_writes(tmp_path):
    at = desk(tmp_path, "translation", labels=(), data={"columns": {"source": "text"}})
    give(at, "a bad meal", "  ein schlechtes Essen ")
    assert at.project.log.news()[0].answer == "ein schlechtes Essen"
    assert (at.project.target, at.about()["labels"]) == ("target", [])
    with pytest.raises(DataError, match="the text is empty"):
        give(at, "a bad meal", " ")
    with pytest.raises(DataError, match="character 1 is half of one"):
        give(at, "a bad meal", "\ud83d")
