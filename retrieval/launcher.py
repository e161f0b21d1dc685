"""What a process of torchrun owes to its launcher (accelerate launch uses it too), and what it does without it."""

import logging
import os
import subprocess
import sys
import threading
import time

logger = logging.getLogger(__name__)

LOOKS_S, LAST_WORDS_S = 1.0, 5.0
GONE = "the launcher of this process is gone, so it ends; the same command goes on from the last checkpoint"

_launcher = os.getppid() if "TORCHELASTIC_RUN_ID" in os.environ else None


def end_with_launcher() -> None:
    """End this process soon after its launcher is gone; a killed one cannot say so.

    Else its workers train on, hold the folder, and have no one who would start them again. The system could send a
    signal instead (Linux, PR_SET_PDEATHSIG), but not everywhere, and none that may still write a sentence.
    """
    if _launcher is not None:
        threading.Thread(target=_watch, name="launcher", daemon=True).start()


def launcher_is_gone() -> bool:
    """Whether torchrun has ended before this process of it; what it served, such as the store, went with it."""
    return _launcher is not None and os.getppid() != _launcher


def _watch() -> None:
    while not launcher_is_gone():
        time.sleep(LOOKS_S)
    # In case that writing the sentence waits for something, too.
    last_words = threading.Timer(LAST_WORDS_S, os._exit, (1,))
    last_words.daemon = True
    last_words.start()
    logger.error(GONE)
    os._exit(1)


def say_when_it_has_ended(sentence: str) -> None:
    """torchrun ends an interruption with a page of its own; a child that waits for its end has the last word."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return
    program = (
        "import os, sys, time\n"
        "for _ in range(600):\n"
        "    try: os.kill(int(sys.argv[1]), 0)\n"
        "    except OSError: break\n"
        "    time.sleep(0.1)\n"
        "print('error: ' + sys.argv[2], file=sys.stderr)"
    )
    words = [sys.executable, "-IS", "-c", program, str(os.getppid()), sentence]
    subprocess.Popen(words, stdin=subprocess.DEVNULL, start_new_session=True)
