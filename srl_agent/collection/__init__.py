"""Expert trajectories: teachers write them, checks keep what is right."""
