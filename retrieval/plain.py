"""Text of others on a terminal, in a log or in a picture: nothing in it acts, all of it is seen.

Names of data sets and runs, a server's answers and what files say may hold escape sequences, which a terminal obeys.
"""

import logging
import re

# Control characters but tab and line feed, and those that turn the direction of reading.
_ACTS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def plain(text: object) -> str:
    """The text with what would act written out: \\x1b for an escape character."""
    return _ACTS.sub(lambda found: ascii(found[0])[1:-1], str(text))


def plain_name(text: object) -> str:
    """The same in one line, for a name that stands in tables."""
    return plain(text).replace("\n", "\\n").replace("\t", "\\t")


class PlainFormatter(logging.Formatter):
    """Formats log records as `plain` text."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter.format`."""
        return plain(super().format(record))
