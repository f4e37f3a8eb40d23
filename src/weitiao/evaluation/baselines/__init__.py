"""Simple models beside which a fine-tuned one is measured."""
