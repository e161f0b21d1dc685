"""Tables, tests and pictures over run folders.

Comes in: folders that runs left (config.yaml, metrics.jsonl, evaluation/); nothing else of experiment is imported but
how such files are read. Goes out: index.html, report.md, results.csv, *.png.
"""
