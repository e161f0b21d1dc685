"""The system's own locks (flock) of files and folders: they go when their owner ends, however that ends."""

import fcntl
import logging
from pathlib import Path
from typing import IO

logger = logging.getLogger(__name__)


def taken(file: IO[str] | int, place: Path, shared: bool = False, waits: bool = False) -> bool:
    """Whether this process holds the lock now; it does until the file is closed.

    On a disk without locks a warning is logged and the answer is yes: nothing is kept away.

    Args:
        file: open; a folder's descriptor too.
        place: named in the warning.
        shared: with others that share it.
        waits: until it is free.
    """
    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(file, kind if waits else kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        logger.warning("%s: this disk has no locks (%s); let no two commands write there", place, error.strerror)
    return True
