"""The exercises of the course: `check("03.1", answer)` says at once whether an answer is right."""

from daclip_lab.course.registry import check

__all__ = ["check"]
