"""Training pairs {query, pos} out of what is there: a BEIR folder's judgements (beir), documentation (quickstart)."""
