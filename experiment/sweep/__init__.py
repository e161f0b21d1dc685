"""What run_reproduce.sh does: many configs, each by commands of experiment/run in processes of their own, then the report."""
