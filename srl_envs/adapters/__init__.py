"""Front doors for other trainers: the same prompts, and the same rewards to the last bit.

One file a trainer, and :mod:`srl_envs.adapters.rows` and
:mod:`srl_envs.adapters.episodes`, which they share. The trainers are not installed with
this package.
"""
