"""The one exception meant for people."""


class UserError(Exception):
    """Something the user can mend. The message says what is wrong, where (file, line, id) and what to do; the command line prints it
    without a traceback and exits with 1."""
