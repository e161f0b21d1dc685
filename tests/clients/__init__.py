"""The files of retrieval.encode in other engines' own clients: make test-clients."""
