"""The registry of the exercises, and how an answer is checked.

The checkers of notebook NN live in `exercises/exNN.py`; they are imported when the first of its exercises is checked.
The solutions live in the notebooks alone, where a test finds them.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from daclip_lab.errors import InputError

Checker = Callable[[Any], str | None]
"""Takes an answer; returns None when it is right, or one sentence that says what is wrong."""


@dataclass(frozen=True)
class Exercise:
    """A checker, and wrong answers that it must reject (the tests try them)."""

    id: str
    checker: Checker
    wrong: Sequence[Any]


class _Unanswered(Exception):
    """The answer, or what the answered function returned, is still a placeholder."""


_EXERCISES: dict[str, Exercise] = {}


def exercise(id: str, *, wrong: Sequence[Any]) -> Callable[[Checker], Checker]:
    """Register a checker under an id such as "03.1", with typical wrong answers."""

    def register(checker: Checker) -> Checker:
        _EXERCISES[id] = Exercise(id, checker, wrong)
        return checker

    return register


def check(id: str, answer: Any) -> None:
    """Print whether an answer is right and, where it is not, what is wrong with it.

    An answer is what the exercise wants: a number, a name, a tensor, a function. What the student's function
    raises is printed in one line. Raises InputError for an exercise that does not exist.
    """
    try:
        complaint = judge(id, answer)
    except _Unanswered:
        print(f"{id}: your turn.")
        return
    print(f"{id}: right." if complaint is None else f"{id}: not yet. {complaint}")


def judge(id: str, answer: Any) -> str | None:
    """None for a right answer, or one line that says what is wrong."""
    checker = find(id).checker
    if answer is None or answer is ...:
        raise _Unanswered
    try:
        return checker(_filled(answer) if _is_function(answer) else answer)
    except _Unanswered:
        raise
    except Exception as error:  # a student's code may raise anything
        reason = " ".join(str(error).split())[:200].rstrip(".")
        return f"It raised {type(error).__name__}{': ' * bool(reason)}{reason}."


def find(id: str) -> Exercise:
    """The exercise of that id; an InputError lists those of its notebook, or the notebooks that have exercises."""
    notebook = str(id).split(".")[0]
    known = notebooks()
    if notebook not in known:
        raise InputError(
            f"exercise {id!r} is unknown: there are exercises of notebooks {', '.join(known)}"
        )
    import_module(f"daclip_lab.course.exercises.ex{notebook}")
    if id not in _EXERCISES:
        raise InputError(f"exercise {id!r} is unknown: use one of {', '.join(ids(notebook))}")
    return _EXERCISES[id]


def ids(notebook: str) -> list[str]:
    """The exercises of a notebook, such as "03"."""
    import_module(f"daclip_lab.course.exercises.ex{notebook}")
    return sorted(id for id in _EXERCISES if id.startswith(f"{notebook}."))


def notebooks() -> list[str]:
    """The numbers of the notebooks that have exercises."""
    return sorted(
        path.stem[2:] for path in Path(__file__).with_name("exercises").glob("ex[0-9][0-9].py")
    )


def _is_function(answer: Any) -> bool:
    # Instances of nn.Module are called as well, but a checker may want more of them than a call.
    return callable(answer) and hasattr(answer, "__name__") and not isinstance(answer, type)


def _filled(function: Callable) -> Callable:
    """The student's function, wrapped: a result that is still a placeholder ends the check."""

    @functools.wraps(function)
    def call(*args, **kwargs):
        result = function(*args, **kwargs)
        if result is None or result is ...:
            raise _Unanswered
        return result

    return call
