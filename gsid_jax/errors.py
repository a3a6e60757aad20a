"""The one exception for mistakes a user can make and mend."""


class UserError(Exception):
    """A mistake in the input, the configuration or the environment.

    The message says in one line what is wrong, what was found, what was expected and how to mend
    it. Entry points print it as ``error: ...`` and exit with status 1, without a traceback.
    """
