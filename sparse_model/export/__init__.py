"""Checkpoints in the forms that other programs load: `python -m sparse_model.export`."""
