"""Pages of the admin API that are made when one of them is first requested."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from oci_registry.admin.gate import Gate
from oci_registry.streams.threads import RunInThread
from oci_registry.web.answering import Answering
from oci_registry.web.errors import respond_error
from oci_registry.web.site import RegistryRequest

Pages = Mapping[bytes, Answering]
"""Pages by the first segment of their paths."""
MakePages = Callable[[Gate], Pages]
"""Makes the pages that a gate protects."""


class LatePages:
    """Makes pages at the first request for one: most daemons never get any.

    *load* imports their maker, in a thread (*in_thread*); *begin* then returns it.
    """

    def __init__(
        self, load: Callable[[], object], begin: Callable[[], MakePages], in_thread: RunInThread
    ) -> None:
        self._load = load
        self._begin = begin
        self._in_thread = in_thread
        self._make: MakePages | None = None

    async def behind(self, gate: Gate) -> Pages:
        """Return new pages that *gate* protects."""
        if self._make is None:
            await self._in_thread(self._load)
        # Another request may have made them meanwhile.
        if self._make is None:
            self._make = self._begin()
        return self._make(gate)


class LatePage(Answering):
    """One of the `LatePages` behind a gate, by its name."""

    def __init__(self, pages: LatePages, gate: Gate, name: bytes) -> None:
        super().__init__()
        self._pages = pages
        self._gate = gate
        self._name = name
        self._page: Answering | None = None

    async def answer(self, request: RegistryRequest) -> None:
        """Let the page respond."""
        try:
            if self._page is None:
                found = (await self._pages.behind(self._gate))[self._name]
                self._page = self._page or found
        except Exception as error:
            respond_error(request, error)
            return
        await self._page.answer(request)
