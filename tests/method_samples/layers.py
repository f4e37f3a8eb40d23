import re
from typing import Any

from torch import nn

from tests.method_samples import body_of

OPTIONS = {"top": 1}
VARIANTS = [{"top": 2}, {"pattern": "norm|ln_|LayerNorm"}]

# Of the tiny models: two blocks a stack; the last block of the whole has the final norm of its stack with it.
LAST = {
    1: r"^bert\.encoder\.layer\.1\.|^model\.(layers\.1|norm)\.|^transformer\.(h\.1|ln_f)\.|"
    r"^(transformer\.)?decoder\.(block\.1|final_layer_norm)\.",
    2: r"^bert\.encoder\.layer\.|^model\.(layers|norm)\.|^transformer\.(h|ln_f)\.|"
    r"^(transformer\.)?decoder\.(block|final_layer_norm)\.",
}


def trainable(model: nn.Module, options: dict[str, Any]) -> int:
    pattern = options.get("pattern") or LAST[options["top"]]
    return sum(p.numel() for name, p in body_of(model).items() if re.search(pattern, name))
