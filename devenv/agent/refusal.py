"""Why the agent does not do something."""

from __future__ import annotations

import errno


class Refused(Exception):
    """A change that is not made. `reason` is one of `Ack.reason`; the text is for a person."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def refusal(error: OSError) -> Refused:
    """What an error of the operating system means for a change."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Refused("space", "no space left on the volume; the previous version is intact")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return Refused("permission", f"the volume refuses it: {error.strerror}")
    if error.errno == errno.ELOOP:
        return Refused("unsafe", "a link is in the way; devenv does not follow links in the volume")
    if error.errno in (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL):
        return Refused("unsupported", f"the volume's file system cannot hold this name: {error.strerror}")
    return Refused("failed", f"{error.strerror or error} (errno {error.errno})")
