"""The exceptions meant for people."""


class UserError(Exception):
    """Something the user can mend. The message says what is wrong, where (file, line, id) and what to do; the command line prints it
    without a traceback and exits with 1."""


class Preempted(Exception):
    """Long work was asked to end and has saved where it stands. The command line prints the message and exits with launch.PREEMPTED."""
