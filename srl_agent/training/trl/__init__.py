"""Everything that a release of TRL or transformers can break, and nothing else."""

import warnings

from transformers import TrainingArguments

# TRL still reads the old name of ``is_activation_checkpointing``, at every step.
warnings.filterwarnings("ignore", message=".*is_gradient_checkpointing", category=FutureWarning)

ACTIVATION_CHECKPOINTING = (
    "activation_checkpointing"
    if "activation_checkpointing" in TrainingArguments.__dataclass_fields__
    else "gradient_checkpointing"
)
"""What the installed transformers calls it. Before 5.20 it had the old name alone."""
