"""Secrets that appear while a job runs."""

from __future__ import annotations

from typing import Set

from .protocol import ask, is_inside

#: What was registered where no runner is around; runs that start later mask it.
registered: Set[str] = set()


def register_secret(*values: str) -> None:
    """Masks values in everything that is printed from now on.

    Masking keeps a value out of a log; it is not access control. A value of fewer than four bytes is refused.
    """
    given = [value for value in values if value]
    if is_inside():
        ask("register", secrets=given)
    registered.update(given)
