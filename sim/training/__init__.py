"""Train whole grids of runs of a task."""
