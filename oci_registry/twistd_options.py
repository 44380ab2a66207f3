"""twistd's options for a process that runs only our daemon."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from twisted.python.reflect import namedAny
from twisted.scripts.twistd import ServerOptions  # type: ignore[attr-defined]

# Loaded by its name, as twistd does.
_COMMAND: Any = namedAny("twisted.plugins.oci_registry_plugin.oci_registry")


class OwnOptions(ServerOptions):
    """The options of twistd with our command alone.

    To find the commands of others, twistd imports every plugin on the machine.
    """

    @property
    def subCommands(self) -> Iterator[tuple[str, None, Callable[[], Any], str]]:
        """Our command, as twistd knows it."""
        name = _COMMAND.tapname
        # twistd reads the maker of the service from here.
        self.loadedPlugins = {name: _COMMAND}
        yield name, None, _COMMAND.options, _COMMAND.description
