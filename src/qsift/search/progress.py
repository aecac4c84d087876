"""How far the embedding of passages is."""

from __future__ import annotations

from collections.abc import Callable

OnProgress = Callable[[int, int], None]
"""Is told how many passages are embedded, and how many are cut so far; while documents are left, more will be."""


def counting(on_progress: OnProgress | None, done: int, cut: int) -> Callable[[int], None] | None:
    """Returns what takes the numbers of passages that decode calls finished, from ``done`` on, and tells the sums."""
    if on_progress is None:
        return None

    def count(n: int) -> None:
        nonlocal done
        done += n
        on_progress(done, cut)

    return count
