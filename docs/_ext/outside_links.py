"""Links from a page to files outside docs/: right where the repository is read, plain text on the site."""

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_OUTSIDE = re.compile(r"\[([^\]]*)\]\(\.\./[^)]*\)")


def _unlink(app: "Sphinx", name: str, source: list[str]) -> None:
    source[0] = _OUTSIDE.sub(r"\1", source[0])


def setup(app: "Sphinx") -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("source-read", _unlink)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
