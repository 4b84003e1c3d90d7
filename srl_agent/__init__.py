"""Trains and evaluates language models by Supervised Reinforcement Learning on the environments of ``srl_envs``."""
