"""The same texts through every program that loads a checkpoint, compared: `python -m sparse_model.verify`."""
