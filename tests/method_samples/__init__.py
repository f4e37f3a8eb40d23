"""What the contract over all methods has to know of each. A module is called as its method, with underscores, and holds

``trainable(model, options)``  parameters that move outside the new head, counted from the plain model's shapes: the
                               formula of the method's docstring, written a second time
and, where the defaults do not do:
``OPTIONS``           with which a tiny model overfits eight examples, and which the checks of one step use
``VARIANTS``          further options, to be counted, merged, saved
``LEARNING_RATE``, ``EPOCHS``  of that overfitting
``WITHOUT_DROPOUT``   True where a random body's own noise is more than what the method can tell it
``HERE``              False where a library that it needs is not installed
``STARTS_UNCHANGED``  False where the method's paper starts elsewhere than at the pretrained model's outputs
``POOLING``           the vector of a text that it needs the model to make
``WHOLE_STEPS``       True where it compares the examples of a step, which must not be cut
``refuses(model, options)``    whether the method has to refuse this plain model
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType

from torch import nn

SAMPLED = {file.stem.replace("_", "-") for file in Path(__file__).parent.glob("[a-z]*.py")}


def sample_of(method: str) -> ModuleType:
    """Return the sample of a method."""
    return import_module(f"tests.method_samples.{method.replace('-', '_')}")


def body_of(model: nn.Module) -> dict[str, nn.Parameter]:
    """Name -> parameter of the pretrained body, without head, pooler and the matrix over the vocabulary."""
    outside = ("classifier.", "score.", "classification_head.", "lm_head.", "head.")
    return {n: p for n, p in model.named_parameters() if not n.startswith(outside) and ".pooler." not in n}
