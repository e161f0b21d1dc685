"""Training pairs {query, pos}: from judgements of a BEIR folder, from documentation strings."""
