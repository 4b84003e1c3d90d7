"""A model as an agent: whole episodes in the environment, judged by their outcome."""
