"""How small an index may become without training: python -m retrieval.prune."""
