"""What run_reproduce.sh does: many configs, one after the other.

Lives here: which runs a set of configs stands for (runs), how far each is (progress) and how long it still takes
(time_left), the data that are prepared first (data), the processes that are started (child), the whole (sweep).
Comes in: configs. Goes out: commands of experiment/run, each in a process of its own; then experiment.report's.
"""
