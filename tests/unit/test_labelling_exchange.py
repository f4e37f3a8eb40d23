"""Labels out of a project and into another: nothing is lost on the way, and what is wrong is told with its place."""

from __future__ import annotations

import csv
import json

import pytest

from tests.labelling import desk, give, project
from weitiao.errors import DataError, WeitiaoError
from weitiao.labelling.desk import Desk
from weitiao.labelling.exchange import FORMATS, export, import_labels
from weitiao.labelling.project import Project, read_project

SPANS = [{"start": 2, "end": 4, "type": "PLACE"}, {"start": 7, "end": 8, "type": "MOOD"}]
KINDS = {
    "label": ("text-classification", {}, ("good", "bad"), {"a bad meal": "bad", "这家酒店很好 😀": "good"}),
    "labels": ("text-classification", {"several": True}, ("good", "bad|odd", "so"),
               {"a bad meal": ["good", "so"], "<b>so so</b>": [], "这家酒店很好 😀": ["bad|odd"]}),
    "spans": ("token-classification", {}, ("PLACE", "MOOD"), {"这家酒店很好 😀": SPANS, "a bad meal": []}),
    "text": ("translation", {"data": {"columns": {"source": "text"}}}, (),
             {"a bad meal": 'ein "schlechtes"\nEssen', "<b>so so</b>": "geht so"}),
}  # fmt: skip


def made(folder, kind: str, fill: bool) -> Desk:
    folder.mkdir()
    task, options, labels, answers = KINDS[kind]
    at = desk(folder, task, labels, **options)
    for text, answer in answers.items() if fill else ():
        give(at, text, answer)
    return at


def answers(project: Project) -> dict[str, dict[str, object]]:
    state = Desk(project, trains=False).now()
    return {project.pool.by_id[row].text: state.answers(row) for row in state.rows() if state.answers(row)}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", FORMATS)
def test_what_goes_out_comes_in_again(tmp_path, kind, form):
    out = tmp_path / f"labels{FORMATS[form].suffix}"
    source = made(tmp_path / "from", kind, fill=True).project
    assert export(source, out, form)["settled"] == len(KINDS[kind][3])
    target = made(tmp_path / "to", kind, fill=False).project
    found = import_labels(target, out, form)
    assert (found.answers, found.empty, found.elsewhere) == (len(KINDS[kind][3]), 0, 0)
    assert answers(target) == answers(source) == {text: {"anna": a} for text, a in KINDS[kind][3].items()}
    again = import_labels(target, out, form)  # nothing comes in twice
    assert (again.answers, again.known) == (0, len(KINDS[kind][3]))


@pytest.mark.parametrize("form", ["label-studio", "argilla"])
def test_what_each_of_several_said_goes_out_and_in(tmp_path, form):
    at = made(tmp_path / "from", "label", fill=True)
    give(at, "a bad meal", "good", "bob")
    give(at, "<b>so so</b>", None, act="skip")
    counts = export(at.project, tmp_path / "out.json", form)
    assert counts == {"settled": 1, "disputed": 1, "skipped or unsure": 1}
    target = made(tmp_path / "to", "label", fill=False).project
    import_labels(target, tmp_path / "out.json", form)
    assert answers(target)["a bad meal"] == {"anna": "bad", "bob": "good"}


def test_a_file_to_train_on_holds_what_was_ruled_and_not_what_is_disputed(tmp_path):
    at = made(tmp_path / "from", "label", fill=True)
    give(at, "a bad meal", "good", "bob")
    counts = export(at.project, tmp_path / "one.csv", "csv")
    assert counts == {"settled": 1, "disputed": 1}
    give(at, "a bad meal", "bad", "carl", act="adjudicate")
    export(at.project, tmp_path / "two.csv", "csv")
    with (tmp_path / "two.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows == [{"text": "这家酒店很好 😀", "label": "good", "labelled_by": "anna"},
                    {"text": "a bad meal", "label": "bad", "labelled_by": "carl"}]  # fmt: skip
    with pytest.raises(WeitiaoError, match="is there already"):
        export(at.project, tmp_path / "two.csv", "csv")


def test_spans_go_out_as_the_project_s_own_task_reads_them(tmp_path):
    from weitiao.data import open_splits
    from weitiao.recipe import DataSettings
    from weitiao.tasks.annotations import spans_in
    from weitiao.tasks.token_classification import TokenClassification

    at = made(tmp_path / "from", "spans", fill=True)
    for suffix in (".csv", ".jsonl"):
        out = tmp_path / f"ner{suffix}"
        export(at.project, out, suffix[1:])
        settings = DataSettings(train=str(out), validation_size=0, test_size=0)
        rows = list(open_splits(settings, TokenClassification.columns, seed=0)["train"])
        spans = {row["text"]: spans_in(row["entities"], row["text"], "") for row in rows}
        assert [tuple(span) for span in spans["这家酒店很好 😀"]] == [(2, 4, "PLACE"), (7, 8, "MOOD")]
        assert spans["a bad meal"] == []


def test_fields_are_those_that_label_studio_and_argilla_read(tmp_path):
    at = made(tmp_path / "from", "spans", fill=True)
    export(at.project, tmp_path / "ls.json", "label-studio")
    task = next(t for t in json.loads((tmp_path / "ls.json").read_text()) if t["data"]["text"].startswith("这"))
    region = task["annotations"][0]["result"][0]
    assert (region["type"], region["from_name"], region["to_name"]) == ("labels", "entities", "text")
    assert region["value"] == {"start": 2, "end": 4, "text": "酒店", "labels": ["PLACE"]}
    export(at.project, tmp_path / "rg.json", "argilla")
    record = next(r for r in json.loads((tmp_path / "rg.json").read_text()) if r["fields"]["text"].startswith("这"))
    [response] = record["responses"]["entities"]
    assert response["value"][0] == {"start": 2, "end": 4, "label": "PLACE"}
    assert set(response) == {"value", "user_id", "status"}
    assert set(record) == {"id", "fields", "metadata", "suggestions", "responses", "vectors"}


def test_files_as_the_others_write_them_are_read(tmp_path):
    target = made(tmp_path / "to", "label", fill=False).project
    (tmp_path / "ls.json").write_text(json.dumps([
        {"id": 1, "data": {"text": "a bad meal"}, "annotations": [
            {"id": 7, "completed_by": 10, "was_cancelled": False, "lead_time": 4.2, "result": [
                {"id": "x", "from_name": "sentiment", "to_name": "text", "type": "choices", "origin": "manual",
                 "value": {"choices": ["bad"]}}]},
            {"id": 8, "completed_by": 11, "was_cancelled": True, "result": []}], "predictions": []},
        {"id": 2, "data": {"text": "<b>so so</b>"}, "annotations": []},
        {"id": 3, "data": {"text": "not in the pool"}, "annotations": [
            {"result": [{"type": "choices", "value": {"choices": ["bad"]}}]}]},
    ]))  # fmt: skip
    found = import_labels(target, tmp_path / "ls.json", "label-studio")
    assert (found.answers, found.empty, found.elsewhere) == (1, 1, 1)
    user = "0b5c7d2e-0000-4000-8000-000000000000"
    (tmp_path / "rg.json").write_text(json.dumps([
        {"id": "1", "fields": {"text": "<b>so so</b>"}, "metadata": {}, "vectors": {}, "_server_id": None,
         "suggestions": {"label": {"value": "good", "score": 0.9, "agent": "m"}},
         "responses": {"label": [{"value": "good", "user_id": user}]}}]))  # fmt: skip
    import_labels(target, tmp_path / "rg.json", "argilla", annotator=None)
    assert answers(target) == {"a bad meal": {"imported": "bad"}, "<b>so so</b>": {user: "good"}}


@pytest.mark.parametrize(
    ("name", "form", "content", "where", "told"),
    [
        ("a.csv", "csv", "text,label\na bad meal,bad\n<b>so so</b>,goood\n", "a.csv:3", "unknown label 'goood'"),
        ("a.csv", "csv", "words,label\na bad meal,bad\n", "a.csv:2", "has no 'text'"),
        ("a.csv", "csv", "text,mood\na bad meal,bad\n", "a.csv:2", "has no 'label'"),
        ("a.jsonl", "jsonl", '{"text": "a bad meal", "label": "bad"}\n{"text": \n', "a.jsonl:2", "JSON"),
        ("a.jsonl", "jsonl", '{"text": "a bad meal", "label": ["bad"]}\n', "a.jsonl:1", "list of labels"),
        ("a.json", "label-studio", '[{"data": {"text": "a bad meal"}, "annotations": [{"result": [{"type": "rating", '
         '"value": {"rating": 3}}]}]}]', "a.json:1 (annotations[0])", "no region of the type choices"),
        ("a.json", "label-studio", '[{"text": "a bad meal"}]', "a.json:1 (data)", "holds no texts"),
        ("a.json", "argilla", '[{"fields": {"text": "a bad meal"}, "responses": {"mood": []}}]',
         "a.json:1 (responses.label)", "no question 'label'"),
        ("a.csv", "csv", "text,label\nelsewhere,bad\n", "a.csv", "none of its rows is in the pool"),
        ("a.csv", "xml", "", "--format", "unknown format 'xml'"),
    ],
)  # fmt: skip
def test_a_bad_line_is_told_with_its_place_and_nothing_is_taken_over(tmp_path, name, form, content, where, told):
    target = made(tmp_path / "to", "label", fill=False).project
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=told) as error:
        import_labels(target, tmp_path / name, form)
    assert error.value.where == where
    assert target.log.news() == []


def test_new_labels_are_taken_over_where_that_is_asked_for(tmp_path):
    target = project(tmp_path)
    (tmp_path / "a.csv").write_text("text,label\na bad meal,odd\n")
    found = import_labels(target, tmp_path / "a.csv", "csv", annotator="bob", add_labels=True)
    assert (found.answers, list(found.new_labels)) == (1, ["odd"])
    assert answers(read_project(target.folder)) == {"a bad meal": {"bob": "odd"}}
    assert Desk(target, trains=False).labels == ["good", "bad", "odd"]


def test_two_people_s_files_of_the_same_name_are_taken_over_both(tmp_path):
    target = project(tmp_path)
    for name, label in (("anna", "bad"), ("bob", "bad"), ("carl", "good")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "labels.csv").write_text(f"text,label\na bad meal,{label}\n")
        found = import_labels(target, tmp_path / name / "labels.csv", "csv", annotator=name)
        assert (found.answers, found.known) == (1, 0)
    assert answers(target) == {"a bad meal": {"anna": "bad", "bob": "bad", "carl": "good"}}
    assert import_labels(target, tmp_path / "bob/labels.csv", "csv", annotator=" bob").known == 1


@pytest.mark.parametrize("form", ["label-studio", "argilla"])
@pytest.mark.parametrize("ruler", ["anna", "carl"])
def test_a_ruling_stays_one_on_its_way_out_and_in(tmp_path, form, ruler):
    at = made(tmp_path / "from", "label", fill=True)
    give(at, "a bad meal", "good", "bob")
    give(at, "a bad meal", "good", ruler, act="adjudicate")
    export(at.project, tmp_path / "out.json", form)
    target = made(tmp_path / "to", "label", fill=False).project
    found = import_labels(target, tmp_path / "out.json", form)
    row = next(row.id for row in target.pool if row.text == "a bad meal")
    settled = target.state().settled(row)
    assert (settled.answer, settled.by, settled.adjudicated) == ("good", (ruler,), True)
    own = {} if (form, ruler) == ("argilla", "anna") else {"anna": "bad"}  # a user has one response there
    assert answers(target)["a bad meal"] == {**own, "bob": "good"}
    again = import_labels(target, tmp_path / "out.json", form)
    assert (again.answers, again.known) == (0, found.answers)


def test_a_user_of_argilla_has_one_response(tmp_path):
    at = made(tmp_path / "from", "label", fill=True)
    give(at, "a bad meal", "good", act="adjudicate")
    export(at.project, tmp_path / "out.json", "argilla")
    record = next(r for r in json.loads((tmp_path / "out.json").read_text()) if r["fields"]["text"] == "a bad meal")
    assert [response["value"] for response in record["responses"]["label"]] == ["good"]
    assert record["metadata"] == {"labelled_by": "anna", "ruled_by": "anna"}
