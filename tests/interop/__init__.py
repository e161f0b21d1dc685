"""Other programs that load what is saved and exported here: `make test-interop` runs this in an environment of each."""
