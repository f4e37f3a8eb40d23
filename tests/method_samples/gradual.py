from tests.method_samples.full import LEARNING_RATE, trainable

VARIANTS = [{"layer_decay": 0.5, "unfreeze": 0.0}]

__all__ = ["LEARNING_RATE", "VARIANTS", "trainable"]
