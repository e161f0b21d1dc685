"""The Python code of a made-up hub repository: a model that computes in __init__ what it does not store."""
