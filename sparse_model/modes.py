"""Encoding without dropout, whichever mode a model is in and however many threads encode with it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

_lock = threading.Lock()
# Of each module that encodes: how many threads are at it, and the mode it was in before the first.
_busy: dict[nn.Module, tuple[int, bool]] = {}


@contextmanager
def without_dropout(module: nn.Module) -> Iterator[None]:
    """The module in evaluation mode; the last thread to leave puts it back into the mode that the first found."""
    with _lock:
        threads, was_training = _busy.get(module, (0, module.training))
        _busy[module] = threads + 1, was_training
        if was_training and not threads:
            module.eval()
    try:
        yield
    finally:
        with _lock:
            threads, was_training = _busy.pop(module)
            if threads > 1:
                _busy[module] = threads - 1, was_training
            elif was_training:
                module.train()
