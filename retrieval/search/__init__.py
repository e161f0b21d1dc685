"""Search in one's own documents, on the command line and in a browser: python -m retrieval.search."""
