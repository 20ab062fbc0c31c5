"""The one error that is meant for the person at the keyboard."""


class UserError(ValueError):
    """Something that the user can put right: what is wrong, where, and what to do, in one line.

    The command line prints the message alone and exits with code 2.
    """
