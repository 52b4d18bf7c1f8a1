"""The exceptions for input that cannot be used, and for packages that are not installed."""

from collections.abc import Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """An argument, a file or a setting cannot be used.

    The message is one line: it names the file or the value, and says what would be right. The command line prints
    it and ends with exit code 2.
    """


class InsufficientDataError(InputError):
    """The data do not support a measure: too few rows or photos, no labels, no clean partners.

    A summary of many measures leaves out those that raise it, and reports the message as the reason.
    """


@contextmanager
def extra(name: str) -> Iterator[None]:
    """For a block or, as a decorator, a function: a package that is absent raises InputError, naming the extra."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "a package").partition(".")[0]
        raise InputError(f"{package} is missing: pip install 'daclip-lab[{name}]'") from error
