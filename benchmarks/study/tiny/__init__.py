"""SRL and its rivals on a model of 0.65M parameters that is trained on the spot."""
