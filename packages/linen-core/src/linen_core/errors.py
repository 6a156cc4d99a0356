"""The errors of linen-core."""


class LinenError(Exception):
    """Base of every error that Linen raises on purpose."""
