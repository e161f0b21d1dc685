"""Training: rows to examples to batches, the objective, the trainer."""
