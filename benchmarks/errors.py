"""What a benchmark says when it cannot be carried out."""

from __future__ import annotations


class BenchError(Exception):
    """The benchmark cannot be carried out here, or a program in it failed; the text says which and why."""
