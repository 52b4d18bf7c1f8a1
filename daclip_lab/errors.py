"""The one exception that a person's own input can raise."""


class InputError(ValueError):
    """Something handed to the library cannot be used.

    The message is one line: it names the file or the value, and says what would be right. The command line prints
    it and ends with exit code 2.
    """
