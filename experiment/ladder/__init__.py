"""From documents alone to a model and its figures: documents → passages → pseudo-queries → rungs → what is kept.

Lives here: the rungs (climb), what says whether one is kept (judge), the table (page), the one command (command).
Comes in: `Settings` with documents. Goes out: a run's folder with

    documents/     the passages (mining.documents)        pseudo/     rows and held-out queries (pairs.pseudo)
    ladder/        what each rung gave, and why           training/   the run of the last rung
    and, as of any training, the checkpoint itself, evaluation/ and report/
"""
