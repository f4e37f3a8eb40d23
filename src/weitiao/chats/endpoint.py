"""A chat endpoint that speaks OpenAI's language (``POST /chat/completions``): several questions at once, patiently."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from weitiao.chats.base import Answer, Asked
from weitiao.chats.spending import Budget, Tempo, Tokens
from weitiao.errors import SourceError
from weitiao.recipe import EndpointOptions

FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0  # seconds before a second try, doubled each time
PATIENCE = 600.0  # seconds that an endpoint may ask to wait
IN_A_ROW = 5  # questions without an answer after which it is taken to be down
REJECTED = 3  # questions that are rejected while none was answered, after which the settings are taken to be wrong
TRANSIENT = frozenset({408, 409, 425, 429, *range(500, 600)})
OF_THE_QUESTION = frozenset({400, 413, 422})  # too long, or filtered: others may go through
OVERHEAD = 16  # tokens of a message that are not text, at most


class Endpoint:
    """Asks an endpoint. What was spent is in `budget`."""

    def __init__(self, options: EndpointOptions) -> None:
        """Read the key. Raises a `RecipeError` where its variable is not set."""
        self._options, self._key = options, options.secret()
        self._ended, self._lock = threading.Event(), threading.Lock()
        self._tempo = Tempo(options.per_minute)
        self._answered = self._rejected = self._failed_in_a_row = 0
        self.budget = Budget(
            (options.prompt_price or 0.0, options.completion_price or 0.0), options.most_cost, options.most_tokens
        )
        self.stopped = ""

    @property
    def identity(self) -> Mapping[str, Any]:
        """What answers hang on."""
        return self._options.model_dump(include={"base_url", "model", "temperature", "top_p", "max_tokens", "extra"})

    def answers(self, asked: Sequence[Asked]) -> Iterator[tuple[int, Answer]]:
        """Yield answers as they come, until all have or it stopped.

        Raises a `SourceError` where the endpoint refuses the key or the settings, or has never answered; those that
        were under way are still given first.
        """
        import httpx2

        fault: SourceError | None = None
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        with httpx2.Client(timeout=self._options.timeout, headers=headers) as client:
            pool = ThreadPoolExecutor(self._options.together, thread_name_prefix="endpoint")
            futures = {pool.submit(self._answer, client, one): number for number, one in enumerate(asked)}
            try:
                for future in as_completed(futures):
                    try:
                        answer = future.result()
                    except SourceError as error:
                        fault = fault or error
                        continue
                    if answer is not None:
                        yield futures[future], answer
            finally:
                if any(not future.done() for future in futures):  # somebody lost patience
                    self._ended.set()
                pool.shutdown(cancel_futures=True)
        if fault is not None:
            raise fault

    def _answer(self, client: Any, one: Asked) -> Answer | None:
        """The answer to one question, None where it was not asked, for all has stopped."""
        most, why = self._most(one), ""
        for attempt in range(self._options.retries + 1):
            if attempt:
                self._ended.wait(random.uniform(0.5, 1.0) * min(LONGEST_WAIT, FIRST_WAIT * 2 ** (attempt - 1)))
            if not self._ended.is_set() and not self.budget.set_aside(most):
                self._stop("the limit of what may be spent is reached")
            if self._ended.is_set():
                return None
            self._tempo.wait(self._ended)
            if self._ended.is_set():
                self.budget.settle(most, Tokens())
                return None
            spent = most  # unless it is known to be less
            try:
                answer, spent = self._tried(client, one, most)
                return self._counted(answer)
            except _AgainError as again:
                why, spent = again.why, most if again.billed else Tokens()
                self._tempo.hold(again.wait)
            except SourceError:
                spent = Tokens()
                raise
            finally:
                self.budget.settle(most, spent)
        return self._given_up(why)

    def _tried(self, client: Any, one: Asked, most: Tokens) -> tuple[Answer, Tokens]:
        """Ask once; return what came and what it took. Raises `_AgainError` where another try may help."""
        import httpx2

        options = self._options
        body = {
            "model": options.model, "messages": [dict(message) for message in one.messages], "seed": one.seed,
            "temperature": options.temperature if one.drawn else 0.0, "top_p": options.top_p,
            "max_tokens": options.max_tokens, **options.extra,
        }  # fmt: skip
        body = {name: value for name, value in body.items() if value is not None}
        try:
            response = client.post(f"{options.base_url.rstrip('/')}/chat/completions", json=body)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
            raise _AgainError(f"cannot be reached ({error})", billed=False) from None
        except httpx2.InvalidURL as error:
            raise self._wrong(f"has no address ({error})") from None
        except httpx2.RequestError as error:
            raise _AgainError(f"broke off ({type(error).__name__})", billed=True) from None
        if response.status_code in TRANSIENT:
            wait = _asked_to_wait(response.headers.get("retry-after"))
            if wait > PATIENCE:
                self._stop(f"the endpoint asks to wait {wait:.0f} seconds")
            raise _AgainError(f"answers {response.status_code}: {self._said(response)}", wait=min(wait, PATIENCE))
        if response.status_code in OF_THE_QUESTION:
            return self._rejection(response), Tokens()
        if response.status_code != 200:
            raise self._wrong(f"answers {response.status_code}: {self._said(response)}")
        return _read(response, most)

    def _rejection(self, response: Any) -> Answer:
        with self._lock:
            self._rejected += 1
            if not self._answered and self._rejected >= REJECTED:
                raise self._wrong(f"rejects what it is asked ({response.status_code}: {self._said(response)})")
        return Answer(problem="rejected")

    def _counted(self, answer: Answer) -> Answer:
        with self._lock:
            self._failed_in_a_row = 0
            self._answered += answer.problem != "rejected"
        return answer

    def _given_up(self, why: str) -> Answer:
        with self._lock:
            self._failed_in_a_row += 1
            if self._failed_in_a_row >= IN_A_ROW:
                if not self._answered:
                    raise self._wrong(why)
                self.stopped = self.stopped or f"the endpoint {why}"
                self._ended.set()
        return Answer(problem="failed")

    def _stop(self, why: str) -> None:
        with self._lock:
            self.stopped = self.stopped or why
            self._ended.set()

    def _wrong(self, why: str) -> SourceError:
        """End all, and return the error to raise."""
        self._ended.set()
        return SourceError(f"the endpoint {why}", where=self._options.base_url,
                           fix="Look at base_url, model and key. What was answered so far is kept.")  # fmt: skip

    def _said(self, response: Any) -> str:
        """What an error says, without the key, should it repeat that."""
        try:
            found = response.json()
            error = found.get("error", found) if isinstance(found, dict) else found
            text = str(error.get("message", error) if isinstance(error, dict) else error)
        except ValueError:
            text = response.text
        text = " ".join(text.split())[:200]
        return text.replace(self._key, "***") if self._key else text

    def _most(self, one: Asked) -> Tokens:
        """The most tokens that a question and its answer can have: no token is less than a byte."""
        prompt = sum(len(message["content"].encode()) + OVERHEAD for message in one.messages)
        return Tokens(prompt, self._options.max_tokens)


class _AgainError(Exception):
    """Another try may help, after `wait` seconds at least; `billed`: this one may be on the bill all the same."""

    def __init__(self, why: str, *, wait: float = 0.0, billed: bool = False) -> None:
        super().__init__(why)
        self.why, self.wait, self.billed = why, wait, billed


def _read(response: Any, most: Tokens) -> tuple[Answer, Tokens]:
    """Read a whole answer; `_AgainError` for one that is broken."""
    try:
        body = response.json()
        choice = body["choices"][0]
        message = choice["message"]
        text, usage = message.get("content"), body.get("usage") or {}
        spent = Tokens(*(_count(usage.get(f"{kind}_tokens"), getattr(most, kind)) for kind in ("prompt", "completion")))
    except (ValueError, LookupError, TypeError, AttributeError):
        raise _AgainError("gives answers that cannot be read", billed=True) from None
    refused = message.get("refusal") or choice.get("finish_reason") == "content_filter"
    problem = "refused" if refused or not isinstance(text, str) or not text.strip() else ""
    cut = choice.get("finish_reason") == "length"
    return Answer("" if problem else text, problem, spent.prompt, spent.completion, cut), spent


def _count(value: Any, otherwise: int) -> int:
    """Tokens as they were told; where they were not, as many as there can be."""
    return value if isinstance(value, int) and value >= 0 else otherwise


def _asked_to_wait(header: str | None) -> float:
    """Seconds that a ``Retry-After`` header asks for: a number, or a date (RFC 9110, 10.2.3)."""
    if header is None:
        return 0.0
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return 0.0
