"""The OpenSearch engine: a private node or a server, the index, bulk loading, search."""
