"""Errors for the person who reads them: what is wrong, where, and what to do."""

import errno
from pathlib import Path

REMEDIES = {
    errno.ENOSPC: "make room on its disk",
    errno.EDQUOT: "make room within your quota",
    errno.EROFS: "make its file system writable, or let it be a link to another one,",
    errno.EACCES: "change its permissions",
    errno.EPERM: "change its permissions",
}
"""What to do about what the system refuses."""


class StageError(Exception):
    """Bad input or settings: one message that names the thing and the remedy."""


def explain(error: OSError, path: Path | None = None) -> str:
    """What the system refused, where, and what to do about it."""
    place = error.filename or path or "a file"
    remedy = f"{REMEDIES[error.errno]} and run the same command again"
    return f"{place}: {error.strerror}; {remedy}"
