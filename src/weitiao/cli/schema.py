"""`weitiao schema`: the recipe's JSON schema."""

from __future__ import annotations


def schema() -> None:
    """Print the JSON schema of a recipe.

    \b
    Example:
      weitiao schema > recipe.schema.json
    """
    from weitiao.cli import show
    from weitiao.recipe import Recipe

    show.as_json(Recipe.json_schema())
