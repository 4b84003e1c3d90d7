"""Everything that a release of TRL or transformers can break, and nothing else."""
