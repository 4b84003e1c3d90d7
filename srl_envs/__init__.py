"""Environments, data and rewards for Supervised Reinforcement Learning: no torch, usable with any trainer."""
