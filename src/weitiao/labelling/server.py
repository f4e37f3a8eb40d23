"""The page's server: a thin layer of HTTP around a `Desk`."""

# No `from __future__ import annotations`: FastAPI reads the annotations of functions inside a function.

import json
import socket
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from weitiao.errors import DataError, WeitiaoError
from weitiao.labelling.access import Access, Guarded
from weitiao.labelling.desk import Desk, Given
from weitiao.labelling.page import page

INSTALL = "pip install 'weitiao[label]'"
GRACE = 3  # seconds for which requests under way are waited for at the end


class Sent(BaseModel):
    """What the page sends of an act."""

    model_config = ConfigDict(extra="forbid")
    act: Literal["label", "skip", "unsure", "note", "adjudicate", "new-label"]
    annotator: str = Field(min_length=1, max_length=200)
    row: str = Field("", max_length=64)
    answer: Any = None
    note: str = Field("", max_length=10_000)
    seconds: float | None = Field(None, allow_inf_nan=False)
    shown: bool = False
    id: str = Field(pattern=r"^[0-9a-f]{32}$")


class Undo(BaseModel):
    """Who takes their last act back."""

    model_config = ConfigDict(extra="forbid")
    annotator: str = Field(min_length=1, max_length=200)
    id: str = Field(pattern=r"^[0-9a-f]{32}$")


def require() -> None:
    """Raise a `WeitiaoError` where the libraries of the page are missing."""
    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError:
        raise WeitiaoError("the page needs the packages fastapi and uvicorn", where="weitiao label",
                           fix=f"{INSTALL}, or label here: --terminal.") from None  # fmt: skip


def application(desk: Desk, access: Access) -> Any:
    """Return the ASGI application."""
    from fastapi import FastAPI, Request
    from fastapi.encoders import jsonable_encoder
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import HTMLResponse, Response

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    def told(status: int, values: dict[str, Any]) -> Response:
        content = json.dumps(values)  # in ASCII: it may hold what was sent, half a character included
        return Response(content, status_code=status, media_type="application/json")

    @app.exception_handler(WeitiaoError)
    def refused(_: Request, error: WeitiaoError) -> Response:
        return told(400 if isinstance(error, DataError) else 507,
                    {"problem": error.problem, "where": error.where, "fix": error.fix})  # fmt: skip

    @app.exception_handler(RequestValidationError)
    def no_act(_: Request, error: RequestValidationError) -> Response:
        return told(422, {"detail": jsonable_encoder(error.errors())})

    @app.get("/")
    def whole_page() -> HTMLResponse:
        html, policy = page(desk.project.name)
        return HTMLResponse(html, headers={"content-security-policy": policy})

    @app.get("/api/about")
    def about() -> dict[str, Any]:
        return desk.about()

    @app.get("/api/progress")
    def progress(annotator: str = "") -> dict[str, Any]:
        return desk.progress(annotator)

    @app.get("/api/next")
    def next_one(annotator: str, disputed: bool = False, passed: str = "") -> dict[str, Any]:
        return {"example": desk.next(annotator, disputed=disputed, passed=passed)}

    @app.get("/api/row/{row}")
    def example(row: str, annotator: str) -> dict[str, Any]:
        return {"example": desk.example(row, annotator)}

    @app.get("/api/find")
    def find(words: str, annotator: str) -> dict[str, Any]:
        return {"rows": desk.find(words, annotator)}

    @app.post("/api/acts")
    def take(sent: Sent) -> dict[str, Any]:
        act = desk.take(Given(**sent.model_dump()))
        return {"kept": act.id, "labels": desk.labels}

    @app.post("/api/undo")
    def undo(sent: Undo) -> dict[str, Any]:
        act = desk.undo(sent.annotator, sent.id)
        if act is None:
            return {"undone": None, "example": None}
        return {"undone": act.act, "example": desk.example(act.row, sent.annotator)}

    @app.post("/api/round")
    def begin() -> dict[str, Any]:
        desk.rounds.begin()
        return {"busy": desk.rounds.busy}

    return Guarded(app, access)


def bound(host: str, port: int) -> socket.socket:
    """Return a socket that listens; a `WeitiaoError` where the address cannot be had. Port 0: any that is free."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise WeitiaoError(f"cannot listen on {host}:{port}: {error.strerror or error}", where="--port",
                           fix="Give another port, or 0 for any that is free.") from None  # fmt: skip
    return listening


def address(listening: socket.socket, access: Access) -> str:
    """Return what to open in a browser."""
    port = listening.getsockname()[1]
    host = socket.gethostname() if access.host in ("0.0.0.0", "::") else access.host
    named = f"[{host}]" if ":" in host else host
    return f"http://{named}:{port}/" + (f"?token={access.token}" if access.token else "")


def serve(desk: Desk, listening: socket.socket, access: Access) -> None:
    """Serve until ctrl-C or SIGTERM."""
    import uvicorn

    settings = uvicorn.Config(application(desk, access), log_level="warning", access_log=False, lifespan="off",
                              timeout_graceful_shutdown=GRACE, server_header=False)  # fmt: skip
    uvicorn.Server(settings).run(sockets=[listening])
