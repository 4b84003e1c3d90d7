"""Everything that a release of TRL or transformers can break, and nothing else."""

import warnings

# TRL still reads the old name of ``is_activation_checkpointing``, at every step.
warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)
