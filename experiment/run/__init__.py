"""One command from settings to results: train, evaluate, prepare data. Comes in: Settings; goes out: a run's folder."""
