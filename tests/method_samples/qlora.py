from importlib.util import find_spec

from tests.method_samples.lora import trainable

OPTIONS = {"rank": 4}
VARIANTS = [
    {"rank": 4, "bits": 8, "start": "eva"},
    {"rank": 4, "quant_type": "fp4", "double_quant": False, "bias": "lora_only"},
]
STARTS_UNCHANGED = False  # the base is rounded
HERE = find_spec("bitsandbytes") is not None  # its extra


def refuses(model: object, options: object) -> bool:
    """Without its extra."""
    return not HERE


__all__ = ["HERE", "OPTIONS", "STARTS_UNCHANGED", "VARIANTS", "refuses", "trainable"]
