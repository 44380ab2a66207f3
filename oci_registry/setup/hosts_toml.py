"""containerd's ``hosts.toml``: adds the mirror's host before the others, and changes nothing else.

The text is edited in one place and parsed again: it is used only if it means the old content and
the mirror.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from attrs import frozen

from oci_registry.setup.merging import parse_toml, quoted
from oci_registry.setup.nouns import Unusable

_NEEDED = ("pull", "resolve")
# A line that may be the header of a table; in a list of several lines it may be an item.
_OPENING = re.compile(r"^[ \t]*\[", re.M)
_COMMENTS = re.compile(r"(?:^[ \t]*#[^\n]*\n)+\Z", re.M)
_MOST_TRIES = 100

Tables = Mapping[str, Mapping[str, object]]


@frozen
class MirrorHost:
    """The table of the mirror; ``ca`` is the path of its certificate authority, None for the machine's."""

    url: str
    ca: str | None = None

    @property
    def lines(self) -> tuple[str, ...]:
        """Return the content of the table, a line each."""
        ca = () if self.ca is None else (f"ca = {quoted(self.ca)}",)
        return ('capabilities = ["pull", "resolve"]', *ca)

    @property
    def text(self) -> str:
        """Return the table with its header."""
        return f"[host.{quoted(self.url)}]\n" + "".join(f"  {line}\n" for line in self.lines)

    @property
    def table(self) -> dict[str, object]:
        """Return the parsed text."""
        return {"capabilities": list(_NEEDED), **({} if self.ca is None else {"ca": self.ca})}


@frozen
class HostsToml:
    """The ``hosts.toml`` at ``path``: its text and its parsed content."""

    path: str
    text: str
    document: Mapping[str, object]
    hosts: Tables

    @classmethod
    def parse(cls, path: str, text: str, mirror: MirrorHost) -> HostsToml:
        """Read a file; `Unusable` says what to add for ``mirror`` if it cannot be parsed."""
        document = parse_toml(text, path, f"cannot be used: correct it and {_advice(mirror)}")
        hosts = document.get("host", {})
        if not isinstance(hosts, dict) or not all(
            isinstance(each, dict) for each in hosts.values()
        ):
            raise Unusable(path, f"host must be a table of tables: {_advice(mirror)}")
        return cls(path, text, document, hosts)

    def known(self, mirror: MirrorHost) -> str | None:
        """Return the name of the mirror's table, if there is one."""
        return next((name for name in self.hosts if name.rstrip("/").lower() == mirror.url), None)

    def trusting(self, mirror: MirrorHost) -> MirrorHost:
        """Return the mirror with the certificate authority of its table, if none is given."""
        name = self.known(mirror)
        ca = None if name is None else self.hosts[name].get("ca")
        return MirrorHost(mirror.url, ca) if mirror.ca is None and isinstance(ca, str) else mirror

    def merged(self, mirror: MirrorHost) -> str:
        """Return the text with the mirror, which is not moved if it is there already.

        `Unusable` says what to add, if that cannot be done safely.
        """
        name = self.known(mirror)
        if name is None:
            wanted: Tables = {mirror.url: mirror.table, **self.hosts}
            edits = self._with_table(mirror)
        else:
            table = self.hosts[name]
            capabilities = table.get("capabilities") or _NEEDED
            if not isinstance(capabilities, list | tuple) or not set(_NEEDED) <= set(
                map(str, capabilities)
            ):
                raise Unusable(self.path, f"the mirror's table must have {mirror.lines[0]}")
            known = table.get("ca")
            if mirror.ca is None or known in (mirror.ca, [mirror.ca]):
                return self.text
            wanted = {**self.hosts, name: {**table, "ca": mirror.ca}}
            edits = self._with_authority(name, mirror)
        document = {**self.document, "host": wanted}
        for text in edits:
            try:
                made = parse_toml(text, self.path, "")
            except Unusable:
                continue
            # The order of hosts is the order in which they are asked.
            if made == document and list(_table(made.get("host"))) == list(wanted):
                return text
        raise Unusable(self.path, f"cannot be changed safely: {_advice(mirror)}")

    def _with_table(self, mirror: MirrorHost) -> Iterator[str]:
        """Return the text with the mirror's table before the first table and the comments above that."""
        for tried, opening in enumerate(_OPENING.finditer(self.text)):
            if tried == _MOST_TRIES:
                return
            before = self.text[: opening.start()]
            comments = _COMMENTS.search(before)
            for place in (comments.start() if comments else opening.start(), opening.start()):
                yield f"{_separated(self.text[:place])}{mirror.text}\n{self.text[place:]}"
        yield f"{_separated(self.text)}{mirror.text}"

    def _with_authority(self, name: str, mirror: MirrorHost) -> Iterator[str]:
        """Return the text with ``ca`` set in the mirror's table."""
        header = (
            rf"^[ \t]*\[[ \t]*host[ \t]*\.[ \t]*([\"']){re.escape(name)}\1[ \t]*\][^\n]*(?:\n|\Z)"
        )
        found = re.search(header, self.text, re.M)
        if found is None:
            return
        before, after = self.text[: found.end()].rstrip("\n") + "\n", self.text[found.end() :]
        line = f"  ca = {quoted(str(mirror.ca))}"
        yield f"{before}{line}\n{after}"
        yield before + re.sub(
            r"^[ \t]*ca[ \t]*=[^\n]*$", lambda _: line, after, count=1, flags=re.M
        )


def _advice(mirror: MirrorHost) -> str:
    return f"add before all other hosts [host.{quoted(mirror.url)}] with {', '.join(mirror.lines)}"


def _table(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _separated(text: str) -> str:
    """Return a text to which another can be appended, after an empty line."""
    return f"{text.rstrip()}\n\n" if text.strip() else ""
