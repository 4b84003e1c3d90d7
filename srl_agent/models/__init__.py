"""Models: loading, LoRA adapters, and the quick start's own."""
