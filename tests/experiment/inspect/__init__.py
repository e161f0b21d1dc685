"""The page that explains a model."""
