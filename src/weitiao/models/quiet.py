"""Keep the libraries' log lines, warnings and progress bars off the terminal."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module

from weitiao.errors import WeitiaoWarning

LOGGERS = ("accelerate", "datasets", "filelock", "fsspec", "huggingface_hub", "peft", "torch", "transformers")


@contextmanager
def quiet() -> Iterator[None]:
    """Silence transformers, datasets, huggingface_hub, peft and torch; everything is as before at the end.

    Our own `WeitiaoWarning`s still come through, and errors are exceptions as ever. The bars of `datasets` are only
    silenced where it was imported before.
    """
    with ExitStack() as stack:
        stack.enter_context(_quiet_bars())
        stack.enter_context(_quiet_loggers())
        stack.enter_context(_quiet_warnings())
        yield


@contextmanager
def _quiet_loggers() -> Iterator[None]:
    levels = {name: logging.getLogger(name).level for name in LOGGERS}
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


@contextmanager
def _quiet_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        ours = [found for found in warnings.filters if found[2] is WeitiaoWarning]
        warnings.simplefilter("ignore")
        warnings.simplefilter("default", WeitiaoWarning)
        for action, *_ in reversed(ours):
            warnings.simplefilter(action, WeitiaoWarning)  # type: ignore[arg-type]
        yield


@contextmanager
def _quiet_bars() -> Iterator[None]:
    from transformers.utils import logging as bars  # "Loading weights", "Writing model shards"

    hub = import_module("huggingface_hub.utils.tqdm")  # the package has a class of this name
    datasets = sys.modules.get("datasets")
    switches = [
        (bars.is_progress_bar_enabled(), bars.disable_progress_bar, bars.enable_progress_bar),
        (not hub.are_progress_bars_disabled(), hub.disable_progress_bars, hub.enable_progress_bars),
    ]
    if datasets is not None:
        enabled = datasets.are_progress_bars_disabled() is False
        switches.append((enabled, datasets.disable_progress_bars, datasets.enable_progress_bars))
    on = [(off_switch, on_switch) for enabled, off_switch, on_switch in switches if enabled]
    for switch_off, _ in on:
        switch_off()
    try:
        yield
    finally:
        for _, switch_on in on:
            switch_on()
