"""What Python's garbage collector is told while modules are imported, and when the start is over."""

from __future__ import annotations

import gc

YOUNG_OBJECTS = 10_000
"""So many that were made and not freed again, some 2 MB, make it look for cycles. No query leaves any, and at Python's
own 700 it would look through entries of the cache 60 times a second under load."""


def expect_modules() -> None:
    """Imports make tens of thousands of objects that stay, and no more than some hundred that could be collected."""
    gc.disable()


def expect_data() -> None:
    """The modules are there and need not be looked at again; from here on it does its work."""
    gc.freeze()
    gc.enable()


def expect_little() -> None:
    """What lives now lives long and need not be looked at again; of what comes, little is left to be collected."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)
