"""Helpers that only the notebooks use: `check("03.1", answer)` checks an exercise; figures and experiments."""

from daclip_lab.course.registry import check

__all__ = ["check"]
