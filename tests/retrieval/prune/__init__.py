"""Making vectors smaller without training."""
