"""The exceptions that computation raises.

`MusicHashError` is the root of every error of this project, so one ``except`` at the command line
turns any of them into a sentence. Concrete classes also inherit the built-in they are a kind of.
"""


class MusicHashError(Exception):
    """Root of all errors that musichash raises on purpose.

    Attributes
    ----------
    is_wrong_input : bool
        Whether the caller can mend it by asking differently (exit code 2), or the work itself
        failed (exit code 1).
    """

    is_wrong_input = False


class ParameterError(MusicHashError, ValueError):
    """An argument is out of its range or has the wrong shape."""

    is_wrong_input = True


class ConfigError(MusicHashError, ValueError):
    """A configuration has an unknown key or a value out of range."""

    is_wrong_input = True


class DecodeError(MusicHashError):
    """One audio file cannot be used; becomes a row in the failures table.

    Parameters
    ----------
    code : str
        One of `musichash_core.failure_codes.FAILURE_CODES`.
    message : str
        What was met, the value, and what is allowed.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class TrainingError(MusicHashError):
    """Training cannot start or cannot go on (one class only, a loss that is not a number)."""
