"""Vectors of a corpus as files that any engine takes: python -m retrieval.encode."""
