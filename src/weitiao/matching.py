"""Which insides of its teacher a student learns: the blocks of both in pairs, by what their configs tell."""

from __future__ import annotations

import math
from typing import Any

from weitiao.models import open_pretrained
from weitiao.recipe import Recipe
from weitiao.records import Pretrained
from weitiao.teachers import pretrained_teacher, refusal
from weitiao.training.layer_maps import layer_maps
from weitiao.training.match import Match


def matching(recipe: Recipe, pretrained: Pretrained) -> Match | None:
    """Return which insides of the teacher a student learns; None where the recipe asks for none.

    Raises a `RecipeError` where the two models cannot be matched so.
    """
    wanted = recipe.distillation
    if wanted is None or wanted.match is None:
        return None
    settings, [teacher] = wanted.match, wanted.teachers
    theirs = pretrained_teacher(teacher, recipe).config.get_text_config()
    own = pretrained.config.get_text_config()
    blocks = [_told(recipe, config, "num_hidden_layers") for config in (own, theirs)]
    try:
        maps = layer_maps(settings.layers, blocks[0], blocks[1], _taken(recipe, pretrained, theirs))
    except ValueError as error:
        raise refusal(recipe, "match.layers", str(error), "Pairs are [student, teacher]: [[0, 1], [1, 3]].") from None
    cut = 1
    if settings.attention or settings.relations:
        heads = [_told(recipe, config, "num_attention_heads") for config in (own, theirs)]
        if settings.attention and heads[0] != heads[1]:
            told = f"{pretrained.source} has {heads[0]} attention heads, and {teacher} {heads[1]}"
            raise refusal(recipe, "match.attention", told, "Set it to 0, and relations to 1, which are for any heads.")
        if settings.relations:
            cut = _relation_heads(recipe, math.gcd(*_attended_widths(own), *_attended_widths(theirs)), heads[1])
    widths = _told(recipe, own, "hidden_size"), _told(recipe, theirs, "hidden_size")
    return Match(settings, maps, cut, widths)


def _taken(recipe: Recipe, pretrained: Pretrained, teacher: Any) -> tuple[int, ...]:
    """The blocks of which a student consists, where the model they are taken from is made as the teacher is."""
    if not pretrained.layers:
        return ()
    model = recipe.model.model_copy(update={"layers": None})
    whole = open_pretrained(model, base=recipe.base).config.get_text_config()
    shapes = [(each.model_type, each.num_hidden_layers, each.hidden_size) for each in (whole, teacher)]
    return pretrained.layers if shapes[0] == shapes[1] else ()


def _told(recipe: Recipe, config: Any, name: str) -> int:
    """A number that a model's config tells; raises where it does not."""
    found = getattr(config, name, None)
    if not isinstance(found, int):
        raise refusal(recipe, "match", f"the config of a '{config.model_type}' model does not tell its {name}",
                       "Take match out, or another model.")  # fmt: skip
    return found


def _attended_widths(config: Any) -> tuple[int, int]:
    """Numbers that queries of a token have, and keys and values, all heads together."""
    heads = int(config.num_attention_heads)
    each = int(getattr(config, "head_dim", None) or config.hidden_size // heads)
    return heads * each, int(getattr(config, "num_key_value_heads", None) or heads) * each


def _relation_heads(recipe: Recipe, common: int, heads: int) -> int:
    """As many as asked for, or as the teacher has heads or fewer; `common` divides all widths."""
    assert recipe.distillation is not None
    assert recipe.distillation.match is not None
    asked = recipe.distillation.match.relation_heads
    if asked == "auto":
        return max(number for number in range(1, heads + 1) if common % number == 0)
    if common % asked:
        known = ", ".join(str(number) for number in range(1, common + 1) if common % number == 0)
        raise refusal(recipe, "match.relation_heads", f"queries, keys and values of both models cannot be cut into "
                       f"{asked} parts", f"Take one of {known}.")  # fmt: skip
    return asked
