"""BuildKit: tables that are added to ``buildkitd.toml``.

BuildKit names the registry in every request, so it needs only the host of the mirror.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from oci_registry.setup.merging import parse_toml, quoted, texts
from oci_registry.setup.nouns import Configuration, Unusable, Wanted

PATH = "/etc/buildkit/buildkitd.toml"

_NOTES = (
    (
        "restart buildkitd after a change; for docker buildx, create the builder anew with "
        "docker buildx create --driver docker-container --buildkitd-config FILE"
    ),
)
_NO_FALLBACK = "BuildKit always falls back to the registry itself: --no-fallback has no effect"


@frozen
class _Table:
    """The required table of one host: its mirror, whether it has no TLS, and its authority."""

    host: str
    mirror: str | None = None
    plain: bool = False
    ca: str | None = None

    @property
    def lines(self) -> tuple[str, ...]:
        mirror = () if self.mirror is None else (f'mirrors = ["{self.mirror}"]',)
        plain = ("http = true",) if self.plain else ()
        return (*mirror, *plain, *(() if self.ca is None else (f"ca = [{quoted(self.ca)}]",)))

    @property
    def text(self) -> str:
        return f'[registry."{self.host}"]\n' + "".join(f"  {line}\n" for line in self.lines)

    def is_in(self, registries: Mapping[str, object]) -> bool:
        """Return whether the file has this table; raise `Unusable` if it has another one for the host."""
        if self.host not in registries:
            return False
        table = _mapping(registries[self.host], f"registry of {self.host}")
        mirrors = texts(table.get("mirrors"), PATH, f"mirrors of {self.host}")
        mirrored = self.mirror is None or self.mirror in map(str.lower, mirrors)
        trusted = self.ca is None or self.ca in texts(table.get("ca"), PATH, f"ca of {self.host}")
        if mirrored and trusted and (table.get("http") is True or not self.plain):
            return True
        raise Unusable(
            PATH, f'has a table registry."{self.host}": add to it: {", ".join(self.lines)}'
        )


def configure(wanted: Wanted) -> Configuration:
    """Return ``buildkitd.toml`` with a table for each registry, and one for the mirror if needed."""
    text = wanted.text(PATH)
    registries = _mapping(_parse(text or "").get("registry"), "registry")
    added = [table.text for table in _tables(wanted) if not table.is_in(registries)]
    notes = (*wanted.reminders, *(_NOTES if wanted.fallback else (_NO_FALLBACK, *_NOTES)))
    if not added:
        return Configuration({} if text is None else {PATH: text}, notes)
    before = [text.rstrip("\n") + "\n"] if text and text.strip() else []
    merged = "\n".join((*before, *added))
    # A table cannot be added to an inline value.
    _parse(merged)
    return Configuration({PATH: merged}, notes)


def _tables(wanted: Wanted) -> list[_Table]:
    mirror = wanted.mirror
    tables = [
        _Table(registry.name, mirror.host, registry.server.startswith("http://"))
        for registry in wanted.registries
    ]
    if tables and (mirror.insecure or wanted.authority):
        tables.append(_Table(mirror.host, plain=mirror.insecure, ca=wanted.ca))
    return tables


def _mapping(value: object, what: str) -> Mapping[str, object]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Unusable(PATH, f"{what} must be a table")
    return value


def _parse(text: str) -> Mapping[str, object]:
    return parse_toml(text, PATH, "is not TOML, or nothing can be added to it")
