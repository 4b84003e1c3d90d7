"""The registry behind ``register_source`` and its siblings, which installed packages add to.

Another package adds an entry by being installed. In its ``pyproject.toml``:

    [project.entry-points."srl_envs.sources"]
    chess = "my_package:load_chess"

The entry point's name becomes the entry's name. Its object is registered as it is, unless
importing the module has registered that name already.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, TypeVar

from srl_envs.errors import ConfigError

T = TypeVar("T")
_logger = logging.getLogger(__name__)


class Registry(Mapping[str, T], Generic[T]):
    """Named entries of one kind: ours, a user's, and those of installed packages.

    Entry points are loaded once, at the first lookup of a name that is not ours. A
    package that cannot be loaded is logged, and costs nothing but its own entry.

    Args:
        kind: What an entry is, for messages: ``"source"``.
        group: The group of entry points.
        make: Makes an entry of the name and the object that are registered; raises
            ConfigError if the object does not fit.
    """

    def __init__(self, kind: str, group: str, make: Callable[[str, Any], T]) -> None:
        self.kind, self.group, self._make = kind, group, make
        self._entries: dict[str, T] = {}
        self._failures: dict[str, str] = {}
        self._plugins_loaded = False

    def register(self, name: str, registered: Any) -> None:
        """Add an entry.

        Raises:
            ConfigError: The name is empty or taken, or the object does not fit.
        """
        if not isinstance(name, str) or not name:
            raise ConfigError(f"The name of a {self.kind} is {name!r}: give a text.")
        if name in self._entries:
            raise ConfigError(f"There is already a {self.kind} {name!r}: choose another name.")
        self._entries[name] = self._make(name, registered)

    def named(self, name: str) -> T:
        """The entry of this name.

        Raises:
            ConfigError: There is none, or its package cannot be loaded.
        """
        if name not in self._entries:
            self._load_plugins()
        if name in self._entries:
            return self._entries[name]
        if name in self._failures:
            raise ConfigError(self._failures[name])
        raise ConfigError(f"{self.kind} is {name!r}: use one of {', '.join(map(repr, self))}.")

    def names(self) -> tuple[str, ...]:
        """All names, without importing the packages that offer them: for ``--help``."""
        return tuple(dict.fromkeys((*self._entries, *(one.name for one in self._plugins()))))

    def __getitem__(self, name: str) -> T:
        if name not in self._entries:
            self._load_plugins()
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        self._load_plugins()
        return iter(tuple(self._entries))

    def __len__(self) -> int:
        self._load_plugins()
        return len(self._entries)

    def _plugins(self) -> list[EntryPoint]:
        return sorted(entry_points(group=self.group), key=lambda one: (one.name, one.value))

    def _load_plugins(self) -> None:
        if self._plugins_loaded:
            return
        self._plugins_loaded = True
        for plugin in self._plugins():
            taken = plugin.name in self._entries
            try:
                registered = plugin.load()
                if taken or plugin.name not in self._entries:
                    self.register(plugin.name, registered)
            except Exception as error:  # whatever a foreign module raises when imported
                package = plugin.dist.name if plugin.dist else plugin.value
                reason = " ".join(str(error).split()) or "no message"
                self._failures[plugin.name] = (
                    f"The {self.kind} {plugin.name!r} of the package {package!r} cannot be loaded "
                    f"({type(error).__name__}: {reason}). Update or uninstall the package."
                )
                _logger.warning("%s", self._failures[plugin.name])
