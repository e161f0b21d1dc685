"""Retrieval: BEIR data, corpus encoding, the exact engine, BM25, metrics; evaluate.py joins them."""
