"""Retrieval: BEIR data, corpus encoding, the exact engine, BM25, metrics; score_dataset joins them."""
