"""Work shared out among several Docker engines, on this machine or others, with Ray or without.

* ``addresses``: what ``--engines`` and ``--ray`` take; ``open_fleet``.
* ``fleet``: who does what, and what happens when an engine dies.
* ``hosts``: an engine asked from this process; ``ray_hosts``: from a process beside it.
* ``remote``: a sandbox that lives in such a process.
"""

from srl_envs.fleet.addresses import open_fleet
from srl_envs.fleet.fleet import Fleet
from srl_envs.fleet.remote import RemoteSandbox

__all__ = ["Fleet", "RemoteSandbox", "open_fleet"]
