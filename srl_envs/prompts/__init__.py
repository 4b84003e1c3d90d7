"""Prompts, one file a kind: a step of a solution, a whole problem, a command of an agent."""
