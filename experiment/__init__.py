"""Experiments: typed settings, run folders, the report."""
