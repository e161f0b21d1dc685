"""One page that shows why a model finds what it finds: python -m experiment.inspect."""
