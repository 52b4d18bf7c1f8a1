"""The exceptions for input that cannot be used."""


class InputError(ValueError):
    """An argument, a file or a setting cannot be used.

    The message is one line: it names the file or the value, and says what would be right. The command line prints
    it and ends with exit code 2.
    """


class InsufficientDataError(InputError):
    """The data do not support a measure: too few rows or photos, no labels, no clean partners.

    A summary of many measures leaves out those that raise it, and reports the message as the reason.
    """
