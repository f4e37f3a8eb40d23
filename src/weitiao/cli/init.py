"""`weitiao init`: look at a data file and propose a commented recipe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from weitiao.cli import options
from weitiao.errors import WeitiaoError

if TYPE_CHECKING:
    from weitiao.recipe import Recipe


def init(
    data: Annotated[str, typer.Argument(help="File or folder of examples; also hf:, ms:, pypi:.", metavar="DATA")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The recipe to write.")] = Path("recipe.yaml"),
    force: Annotated[bool, typer.Option("--force", help="Write over a recipe that is there.")] = False,
    model: Annotated[
        str | None, typer.Option("--model", help="Model to start from; by the text's language when absent.")
    ] = None,
    task: Annotated[str | None, typer.Option("--task", help="Task; by the columns when absent.")] = None,
    columns: options.Columns = None,
) -> None:
    """Look at a data file and propose a commented recipe.

    \b
    Example:
      weitiao init reviews.csv
      weitiao init reviews.csv --output cn.yaml --model intfloat/multilingual-e5-small
    """
    from weitiao.cli import show
    from weitiao.recommendation import proposal
    from weitiao.recommendation.looking import look_at

    if output.suffix.lower() not in (".yaml", ".yml"):
        raise WeitiaoError(f"'{output}' does not end in .yaml", where="--output", fix="Proposed recipes are YAML.")
    if output.exists() and not force:
        raise WeitiaoError("is there already", where=str(output), fix="--force writes over it; --output names another.")
    with options.naming_columns():
        found, notes = look_at(data, output.parent, task, options.columns(columns))
    text = proposal.propose(found, model, _weights(model))
    recipe = _write(text, output)
    show.table(proposal.facts(found, recipe.model.source))
    for note in notes:
        typer.echo(note)
    typer.echo(f"wrote {output}; next: weitiao check {output}")


def _weights(model: str | None) -> int:
    """Return the bytes of a local model folder's weights; 0 where they are not known."""
    folder = Path(model) if model else None
    if folder is None or not folder.is_dir():
        return 0
    return sum(file.stat().st_size for pattern in ("*.safetensors", "*.gguf") for file in folder.glob(pattern))


def _write(text: str, output: Path) -> Recipe:
    """Write the recipe once it is known to read back; return it."""
    from weitiao.recipe import Recipe

    if not output.parent.is_dir():
        raise WeitiaoError(f"the folder {output.parent} does not exist", where="--output")
    beside = output.with_name(f".{output.stem}.writing{output.suffix}")
    try:
        beside.write_text(text, encoding="utf-8")
        recipe = Recipe.read(beside)
        beside.replace(output)
    finally:
        beside.unlink(missing_ok=True)
    return recipe
