"""A chat endpoint that is busy, slow, broken, gone or expensive."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from pydantic import ValidationError

from tests.chat_server import Reply, serving
from weitiao.chats.base import Remembering
from weitiao.chats.endpoint import _asked_to_wait
from weitiao.chats.spending import Budget, Tempo, Tokens
from weitiao.errors import RecipeError, SourceError
from weitiao.sources import cache_folder
from weitiao.workshop.augment import Asked, Endpoint, EndpointOptions


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr("weitiao.chats.endpoint.FIRST_WAIT", 0.01)


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("WEITIAO_CACHE", str(tmp_path / "cache"))


def endpoint(url: str, **options) -> Endpoint:
    return Endpoint(EndpointOptions(base_url=url, model="m", **{"timeout": 5.0, **options}))


def questions(count: int, text: str = "question") -> list[Asked]:
    return [Asked(({"role": "user", "content": f"{text} {number}"},), seed=7) for number in range(count)]


def echo(body, number) -> Reply:
    return Reply("answer to " + body["messages"][-1]["content"])


def answered(chat, asked) -> dict[int, str]:
    return {number: answer.problem or answer.text for number, answer in chat.answers(asked)}


# --- as it should be


def test_each_question_has_its_answer_and_several_are_asked_at_once(monkeypatch):
    monkeypatch.setenv("THE_KEY", "sk-secret")
    with serving(lambda body, number: Reply(f"a{body['messages'][0]['content']}", delay=0.1)) as server:
        chat = endpoint(
            server.url, key="THE_KEY", together=3, temperature=0.5, extra={"top_p": None, "thinking": False}
        )
        found = answered(chat, questions(7))
    assert found == {number: f"aquestion {number}" for number in range(7)}
    assert server.at_once == 3
    assert server.headers[0]["Authorization"] == "Bearer sk-secret"
    body = server.bodies[0]
    assert (body["model"], body["seed"], body["temperature"], body["max_tokens"]) == ("m", 7, 0.5, 1024)
    assert "top_p" not in body
    assert body["thinking"] is False
    assert (chat.budget.spent, chat.stopped) == (Tokens(70, 35), "")


def test_what_is_not_to_be_drawn_is_asked_at_no_temperature():
    with serving(echo) as server:
        list(endpoint(server.url).answers([Asked(({"role": "user", "content": "x"},), drawn=False)]))
    assert server.bodies[0]["temperature"] == 0


def test_no_more_than_so_many_a_minute():
    with serving(echo) as server:
        answered(endpoint(server.url, per_minute=600, together=4), questions(6))
    gaps = [after - before for before, after in zip(sorted(server.times), sorted(server.times)[1:], strict=False)]
    assert sorted(server.times)[-1] - sorted(server.times)[0] >= 0.45
    assert min(gaps) > 0.04


# --- trouble that passes


@pytest.mark.parametrize(
    "bad",
    [
        Reply("busy", 429), Reply("broken", 500), Reply("gone", 503), Reply(sends="nothing"), Reply(sends="half"),
        Reply(body=b"<html>"), Reply(body=b"{}"), Reply(body=b'{"choices": []}'), Reply(body=b"[1]"), Reply(delay=1.5),
        Reply(body=b'{"choices": [{"message": null}]}'),
    ],
    ids=["429", "500", "503", "closed", "half", "html", "empty", "no choice", "list", "late", "null"],
)  # fmt: skip
def test_it_tries_again(bad):
    with serving(lambda body, number: bad if number < 2 else Reply("at last")) as server:
        found = answered(endpoint(server.url, together=1, timeout=0.5), questions(1))
    assert found == {0: "at last"}
    assert len(server.bodies) == 3


def test_it_waits_as_long_as_it_is_asked_to_and_everybody_does():
    def script(body, number):
        return Reply("busy", 429, {"Retry-After": "1"}) if number == 0 else echo(body, number)

    with serving(script) as server:
        found = answered(endpoint(server.url, together=1), questions(3))
    assert len(found) == 3
    assert server.times[1] - server.times[0] >= 0.95


def test_retry_after_is_seconds_or_a_date():
    assert _asked_to_wait("2.5") == 2.5
    assert 50 < _asked_to_wait(format_datetime(datetime.now(UTC) + timedelta(seconds=60))) <= 60
    assert [_asked_to_wait(header) for header in (None, "soon", "-1", "Wed, 21 Oct 2015 07:28:00 GMT")] == [0.0] * 4


def test_who_is_asked_to_wait_for_an_hour_stops():
    with serving(lambda body, number: Reply("busy", 429, {"Retry-After": "3600"}) if number else Reply("a")) as server:
        chat = endpoint(server.url, together=1)
        assert answered(chat, questions(5)) == {0: "a"}
    assert "3600 seconds" in chat.stopped
    assert len(server.bodies) == 2


def test_one_question_that_always_fails_does_not_keep_the_others_from_being_answered():
    def script(body, number):
        return Reply("no", 500) if "question 1" in body["messages"][0]["content"] else echo(body, number)

    with serving(script) as server:
        found = answered(endpoint(server.url, retries=2), questions(4))
        assert found[1] == "failed"
        assert [found[number] for number in (0, 2, 3)] == [f"answer to question {number}" for number in (0, 2, 3)]
    assert sum("question 1" in prompt for prompt in server.prompts()) == 3


# --- trouble that does not


@pytest.mark.parametrize("status", [301, 401, 402, 403, 404])
def test_what_waiting_does_not_mend_is_told_at_once(status, monkeypatch):
    monkeypatch.setenv("THE_KEY", "sk-secret")
    bad = Reply("the key sk-secret is no good", status)
    with serving(lambda body, number: bad) as server, pytest.raises(SourceError) as caught:
        answered(endpoint(server.url, key="THE_KEY", together=1), questions(20))
    assert f"answers {status}: the key *** is no good" in str(caught.value)
    assert "sk-secret" not in str(caught.value)
    assert len(server.bodies) == 1


def test_answers_that_came_before_a_fault_are_given():
    with serving(lambda body, number: Reply("paid", 402) if number == 3 else Reply("a", delay=0.02)) as server:
        chat, found = endpoint(server.url, together=1), {}
        with pytest.raises(SourceError, match="402"):
            for number, answer in chat.answers(questions(10)):
                found[number] = answer.text
    assert found == {0: "a", 1: "a", 2: "a"}


def test_nobody_there():
    with serving(echo) as server:
        url = server.url
    with pytest.raises(SourceError, match="cannot be reached"):
        answered(endpoint(url, retries=1), questions(30))


def test_an_address_that_is_none():
    with pytest.raises(SourceError, match="address"):
        answered(endpoint("http://[::"), questions(1))


def test_an_endpoint_that_goes_down_stops_the_rest():
    with serving(lambda body, number: Reply("down", 503) if number >= 3 else Reply("a")) as server:
        chat = endpoint(server.url, retries=1, together=1)
        found = answered(chat, questions(100))
    assert [found[number] for number in range(3)] == ["a"] * 3
    assert "answers 503: down" in chat.stopped
    assert len(found) == 3 + 5
    assert answered(chat, questions(3)) == {}  # stopped is stopped


def test_a_question_that_is_rejected_is_told_and_settings_that_are_wrong_stop_all():
    def script(body, number):
        return Reply("too long", 400) if number == 1 else Reply("a")

    with serving(script) as server:
        assert answered(endpoint(server.url, together=1), questions(3)) == {0: "a", 1: "rejected", 2: "a"}
    bad = Reply("no such model", 400)
    with serving(lambda body, number: bad) as server, pytest.raises(SourceError, match="no such model"):
        answered(endpoint(server.url, together=1), questions(50))
    assert len(server.bodies) == 3


@pytest.mark.parametrize(
    "refusal",
    [Reply(None), Reply(""), Reply("half", more={"finish_reason": "content_filter"}),
     Reply("x", more={"message": {"content": "x", "refusal": "I will not"}})],
    ids=["null", "empty", "filtered", "refusal"],
)  # fmt: skip
def test_refusals_are_told(refusal):
    with serving(lambda body, number: refusal) as server:
        assert answered(endpoint(server.url), questions(1)) == {0: "refused"}


# --- keys and options


def test_a_key_that_is_not_set(monkeypatch):
    monkeypatch.delenv("NO_KEY", raising=False)
    with pytest.raises(RecipeError, match="NO_KEY is not set"):
        endpoint("http://x", key="NO_KEY")
    monkeypatch.setenv("NO_KEY", "sk-密钥")
    with pytest.raises(RecipeError, match="signs that no key has"):
        endpoint("http://x", key="NO_KEY")


@pytest.mark.parametrize(
    "options",
    [{"base_url": "ftp://x"}, {"most_cost": 1.0}, {"key": "sk-real-key"}, {"together": 0}, {"most_cost": 0.0}],
    ids=str,
)
def test_options_that_cannot_be(options):
    with pytest.raises(ValidationError):
        EndpointOptions(**{"base_url": "http://x", "model": "m", **options})


# --- what it costs


@pytest.mark.parametrize("together", [1, 8])
def test_the_limit_is_never_passed_and_what_was_answered_is_given(together):
    with serving(lambda body, number: Reply("a", usage=(30, 100), delay=0.01)) as server:
        chat = endpoint(server.url, together=together, max_tokens=100, prompt_price=1.0, completion_price=10.0,
                        most_cost=0.01)  # fmt: skip
        found = answered(chat, questions(100))
    assert chat.budget.cost <= 0.01
    assert chat.budget.cost == pytest.approx(len(found) * 1030e-6)
    assert 8 <= len(found) <= 9
    assert len(server.bodies) == len(found)
    assert "limit" in chat.stopped


def test_a_limit_in_tokens():
    with serving(lambda body, number: Reply("a", usage=(30, 70))) as server:
        chat = endpoint(server.url, most_tokens=1000, max_tokens=70)
        found = answered(chat, questions(100))
    spent = chat.budget.spent
    assert spent.prompt + spent.completion == 100 * len(found) <= 1000
    assert len(found) >= 9


def test_a_limit_below_one_question_asks_nothing():
    with serving(echo) as server:
        chat = endpoint(server.url, most_tokens=10)
        assert answered(chat, questions(3)) == {}
    assert server.bodies == []


def test_what_broke_off_and_what_tells_no_usage_counts_in_full():
    with serving(lambda body, number: Reply(sends="nothing") if number == 0 else Reply("a", usage=None)) as server:
        chat = endpoint(server.url, together=1, max_tokens=50)
        answered(chat, questions(1))
    assert chat.budget.spent.completion == 100
    with serving(lambda body, number: Reply("busy", 429) if number == 0 else Reply("a")) as server:
        chat = endpoint(server.url, together=1, max_tokens=50)
        answered(chat, questions(1))
    assert chat.budget.spent == Tokens(10, 5)


def test_a_budget_waits_for_what_others_set_aside():
    budget, got = Budget(most_tokens=100), []
    assert budget.set_aside(Tokens(0, 80))
    waiting = threading.Thread(target=lambda: got.append(budget.set_aside(Tokens(0, 60))))
    waiting.start()
    time.sleep(0.05)
    assert got == []
    budget.settle(Tokens(0, 80), Tokens(0, 20))
    waiting.join(5)
    assert got == [True]
    assert not Budget(most_tokens=100).set_aside(Tokens(50, 51))


def test_a_tempo_that_has_ended_keeps_nobody():
    ended = threading.Event()
    ended.set()
    tempo, began = Tempo(1), time.monotonic()
    tempo.hold(100)
    tempo.wait(ended)
    tempo.wait(ended)
    assert time.monotonic() - began < 1


# --- answers that are kept


def test_the_same_is_asked_once_and_another_seed_again(monkeypatch):
    monkeypatch.setenv("THE_KEY", "sk-secret")
    with serving(echo) as server:
        for _ in range(2):
            chat = Remembering(endpoint(server.url, key="THE_KEY"))
            assert len(answered(chat, questions(3))) == 3
        assert (chat.remembered, len(server.bodies)) == (3, 3)
        answered(chat, [Asked(questions(1)[0].messages, seed=8)])
        answered(Remembering(endpoint(server.url, temperature=0.1)), questions(1))
    assert len(server.bodies) == 5
    files = [path for path in cache_folder().rglob("*") if path.is_file()]
    assert len(files) == 5
    assert not any("sk-secret" in path.read_text() for path in files)


def test_the_same_in_one_call_is_asked_once():
    with serving(lambda body, number: Reply(f"answer {number}")) as server:
        chat = Remembering(endpoint(server.url, together=1))
        asked = [*questions(2), *questions(2), Asked(questions(1)[0].messages, seed=8)]
        found = answered(chat, asked)
    assert len(server.bodies) == 3
    assert sorted(found) == [0, 1, 2, 3, 4]
    assert (found[0], found[1]) == (found[2], found[3])
    assert len({found[0], found[1], found[4]}) == 3


def test_what_is_not_drawn_is_the_same_at_any_temperature():
    asked = [Asked(({"role": "user", "content": "x"},), drawn=False)]
    with serving(echo) as server:
        for temperature in (0.2, 0.9):
            answered(Remembering(endpoint(server.url, temperature=temperature)), asked)
        assert len(server.bodies) == 1
        answered(Remembering(endpoint(server.url, top_p=0.5)), asked)
    assert len(server.bodies) == 2


def test_refusals_are_kept_where_asked_for_once_all_have_come():
    wrong = True

    def script(body, number) -> Reply:
        if "question 1" in body["messages"][-1]["content"]:
            return Reply("too long", 400)
        return Reply("no such model", 404) if wrong else Reply(None)  # a refusal

    with serving(script) as server:
        chat = Remembering(endpoint(server.url, together=1), refusals=True)
        with pytest.raises(SourceError):
            answered(chat, list(reversed(questions(2))))
        wrong = False
        for _ in range(2):
            chat = Remembering(endpoint(server.url, together=1), refusals=True)
            assert answered(chat, questions(2)) == {0: "refused", 1: "rejected"}
        assert (chat.remembered, len(server.bodies)) == (2, 4)  # the rejection beside an error was not kept


def test_failures_are_not_kept_nor_are_files_that_cannot_be_read_trusted():
    with serving(lambda body, number: Reply("x", 400) if number == 1 else Reply("a")) as server:
        chat = Remembering(endpoint(server.url, together=1))
        assert answered(chat, questions(2)) == {0: "a", 1: "rejected"}
        assert answered(chat, questions(2)) == {0: "a", 1: "a"}
        for path in cache_folder().rglob("*.json"):
            path.write_text('{"half')
        assert answered(chat, questions(2)) == {0: "a", 1: "a"}
    assert len(server.bodies) == 5


def test_after_a_kill_only_the_rest_is_asked(tmp_path):
    script = """
import sys
from weitiao.workshop.augment import Asked, Endpoint, EndpointOptions
from weitiao.chats.base import Remembering
chat = Remembering(Endpoint(EndpointOptions(base_url=sys.argv[1], model="m", together=2)))
asked = [Asked(({"role": "user", "content": f"question {n}"},)) for n in range(20)]
for number, answer in chat.answers(asked):
    print(number, flush=True)
"""

    def run(url: str) -> subprocess.Popen:
        return subprocess.Popen([sys.executable, "-c", script, url], stdout=subprocess.PIPE, text=True)

    with serving(lambda body, number: Reply("a", delay=0.05)) as server:
        one = run(server.url)
        seen = [one.stdout.readline() for _ in range(5)]
        one.send_signal(signal.SIGKILL)
        one.wait()
        asked_before = len(server.bodies)
        assert all(seen)
        assert asked_before < 20
        other = run(server.url)
        numbers = {int(line) for line in other.stdout}
        assert other.wait() == 0
    assert numbers == set(range(20))
    kept = 20 - (len(server.bodies) - asked_before)
    assert 5 <= kept <= asked_before


def test_who_stops_listening_stops_the_asking():
    with serving(lambda body, number: Reply("a", delay=0.02)) as server:
        answers = endpoint(server.url, together=1).answers(questions(200))
        next(answers)
        answers.close()
    assert len(server.bodies) < 20
