"""One command, from settings to results.

Lives here: what all commands do (command), a run's folder (folder), models and search engines from settings (models,
engines), and the three commands: train, evaluate, prepare.
Comes in: `Settings`. Goes out: what lies in output_dir. Nothing of experiment/sweep or report is imported.
"""
