"""Search in documents: the index, the command, the page."""
