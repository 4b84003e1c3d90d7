"""Training: data sets, reward functions, the trainer, and the report of a run."""
