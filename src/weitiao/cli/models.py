"""`weitiao models`: the catalogue of well-known open models, and those on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weitiao.cli import options
from weitiao.errors import WeitiaoError, closest

if TYPE_CHECKING:
    from weitiao.models.catalogue import Entry

UNITS = {"K": 1e3, "M": 1e6, "G": 1e9, "B": 1e9}
SHOWN_LANGUAGES = 4

app = typer.Typer(
    invoke_without_command=True, no_args_is_help=False, rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)  # fmt: skip

Folders = Annotated[
    list[Path] | None,
    typer.Option("--folder", metavar="DIR", help="Folder of a model, or of models; may be given again."),
]


@app.callback()
def models(
    context: typer.Context,
    task: options.ModelTask = None,
    language: options.Language = None,
    family: options.Family = None,
    licence: options.Licence = None,
    max_parameters: Annotated[
        str | None, typer.Option("--max-parameters", metavar="N", help="At most so many: 500M, 1.5B.")
    ] = None,
    at_hand: Annotated[bool, typer.Option("--at-hand", help="Only those on this machine.")] = False,
    folder: Folders = None,
    search: Annotated[str, typer.Option("--search", metavar="WORDS", help="All of these words are said of it.")] = "",
    json_: options.Json = False,
) -> None:
    """List well-known open models and those on this machine.

    \b
    Example:
      weitiao models --task chat --language zh --licence open --max-parameters 2B
      weitiao models --at-hand --folder ~/models
      weitiao models --search "long texts"
      weitiao models show Qwen/Qwen2.5-0.5B-Instruct
    """
    if context.invoked_subcommand:
        return
    from weitiao.cli import show
    from weitiao.recommendation import known_models

    most = _number(max_parameters) if max_parameters else None
    found, unread = known_models(task=task, language=language, family=family, licence=licence, max_parameters=most,
                                 here=at_hand, folders=folder or (), search=search)  # fmt: skip
    for each in unread:
        typer.echo(f"warning: {each.folder} {each.problem}", err=True)
    if json_:
        show.as_json([entry.to_dict() for entry in found])
        return
    show.table(
        map(row, found), ("model", "family", "parameters", "reads", "languages", "licence", "good at"), right=[2, 3]
    )
    here = sum(bool(entry.here) for entry in found)
    typer.echo(f"{len(found)} models, {here} of them on this machine (*)" if found else "No model is like that.")


@app.command("show")
def show_model(
    model: Annotated[str, typer.Argument(help="Its id, or the end of it; a package; a folder.", metavar="MODEL")],
    folder: Folders = None,
    json_: options.Json = False,
) -> None:
    """Tell all that is known of one model.

    \b
    Example:
      weitiao models show bge-small-zh-v1.5
    """
    from weitiao.cli import show
    from weitiao.models.catalogue import find
    from weitiao.recommendation import known_models

    inside = [Path(model)] if Path(model).is_dir() else []
    entries, unread = known_models(folders=[*inside, *(folder or [])])
    entry = find(str(inside[0]) if inside else model, entries)
    if entry is None:
        problem = next((each.problem for each in unread if each.folder == model), "")
        if problem:
            raise WeitiaoError(problem, where=model)
        raise WeitiaoError(f"no model '{model}' in the catalogue or on this machine", where="weitiao models show",
                           fix=_close(model, entries))  # fmt: skip
    if json_:
        show.as_json(entry.to_dict())
        return
    show.table(facts(entry))


def _close(model: str, entries: list[Entry]) -> str:
    ends = {entry.id.rpartition("/")[2]: entry.id for entry in entries}
    close = closest(model.rpartition("/")[2], ends)
    return f"Did you mean '{ends[close]}'?" if close else "`weitiao models` lists them; --search WORDS finds one."


def row(entry: Entry) -> tuple[str, ...]:
    """A model as a row of the table."""
    from weitiao.trackers.units import count

    mark = "* " if entry.here else "  "
    return (mark + entry.id, entry.family, count(entry.parameters), f"{entry.context:,}", languages(entry),
            entry.licence or "?", entry.good_at)  # fmt: skip


def languages(entry: Entry) -> str:
    """The languages in few characters."""
    if not entry.languages:
        return "?"
    if len(entry.languages) <= SHOWN_LANGUAGES:
        return " ".join(entry.languages)
    return f"{len(entry.languages)}" + (" with zh" if "zh" in entry.languages else "")


def facts(entry: Entry) -> list[tuple[str, str]]:
    """All that is known of a model, as rows."""
    from weitiao.trackers.units import count

    shape = entry.shape
    stacks = f" and {shape.decoder_layers}" if shape.decoder_layers else ""
    heads = f"{shape.heads}" + (f", keys and values of {shape.kv_heads}" if shape.kv_heads != shape.heads else "")
    told = [
        ("model", entry.id), ("on this machine", entry.here or "no"), ("how it is known", _known(entry)),
        ("package", entry.pypi), ("ModelScope", f"ms:{entry.modelscope}" if entry.modelscope else ""),
        ("good at", entry.good_at), ("made for", ", ".join(entry.traits)), ("translates", ", ".join(entry.pairs)),
        ("family", entry.family), ("architecture", entry.architecture), ("head", entry.head),
        ("parameters", f"{count(entry.parameters)}, {count(entry.body)} of them without the vocabulary's tables"),
        ("layers", f"{shape.layers}{stacks}"),
        ("width", f"{shape.width:,}, {shape.inner:,} within its feed-forward layers"),
        ("attention heads", heads), ("vocabulary", f"{shape.vocabulary:,}"), ("context", f"{entry.context:,} tokens"),
        ("languages", ", ".join(entry.languages) or "not known"), ("licence", entry.licence or "not known"),
        ("year", str(entry.year or "")),
        ("note", "the Hub may have its weights as pickles alone: convert them once" if entry.pickles else ""),
    ]  # fmt: skip
    return [(name, value) for name, value in told if value]


def _known(entry: Entry) -> str:
    if entry.recognised == "shape":
        return f"by its shape, which is that of {', '.join(entry.alike)}"
    return ""


def _number(given: str) -> float:
    text = given.strip().upper().replace("_", "").replace(",", "")
    try:
        found = float(text[:-1]) * UNITS[text[-1]] if text[-1:] in UNITS else float(text)
    except ValueError:
        found = 0
    if found <= 0:
        raise WeitiaoError(f"found '{given}'", where="--max-parameters", fix="Write a number: 500M, 1.5B.")
    return found
