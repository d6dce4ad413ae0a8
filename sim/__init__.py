"""What happens to a model: tasks, a trainer, sweeps, results and pictures."""
