"""The query field ``ns``, which names the registry of a request to a shared host.

A host other than the registry may be a mirror of many (another instance of this daemon, or spegel).
Without ``ns`` it would use its default registry, and respond with another image. Registries ignore
unknown fields; if one does not, the request is repeated without it. If the path of a host begins
with the name of a registry, ``ns`` has that name.
"""

from __future__ import annotations

from urllib.parse import parse_qsl, quote

from oci_registry.config.names import fold_alias
from oci_registry.config.settings import HostSettings
from oci_registry.spec.reference import looks_like_host
from oci_registry.spec.urls import query_of, with_query

REFUSALS = frozenset({400, 405, 414, 422, 501})
"""Statuses that may be about the query itself.

Not 404: a mirror that does not have the registry answers so, and would have another one's image.
Nor 401 and 403, which are about the client.
"""
_SETTLED = (404, 416)
_LAST_GOOD = 399


class NsField:
    """Whether requests to one host have ``ns``, and what its responses have shown.

    Use the URL from `added_to`. If the response `may_refuse` the field, try the URL without it, and
    use that response if it `replaces` the first. Only responses of the host itself count, not those
    of redirects. Requests to a host that is shared by registries without an entry always have the
    field: without it, the host would use the same registry for all of them.
    """

    def __init__(self, namespace: str, host: HostSettings) -> None:
        self._namespace = registry_meant(namespace, host)
        self._strict = host.shared
        self.sent = asks_with_ns(self._namespace, host)
        self._settled = host.shared or not self.sent

    def added_to(self, url: str) -> str:
        """Return *url* with the field, if requests to this host have it."""
        return with_ns(url, self._namespace) if self.sent else url

    def may_refuse(self, status: int) -> bool:
        """Return whether a response to a request with the field may mean that the host rejects the field.

        Never after the host has answered such a request successfully.
        """
        if status <= _LAST_GOOD or status in _SETTLED:
            self._settled = True
        return not self._settled and status in REFUSALS

    def is_another(self, status: int, about: str | None) -> bool:
        """Return whether ``OCI-Namespace`` *about* in a successful response shows that the field was ignored.

        A host of a single registry may use another name for it; a shared host may not.
        """
        return self._strict and status <= _LAST_GOOD and not is_about(self._namespace, about)

    def replaces(self, status: int, about: str | None) -> bool:
        """Return whether to use a response without the field, with ``OCI-Namespace`` *about*.

        Not if it is an error too, or is about another registry. After a successful one, the field is
        not sent any more.
        """
        if status in REFUSALS or not is_about(self._namespace, about):
            return False
        if status <= _LAST_GOOD:
            self.sent, self._settled = False, True
        return True


def registry_meant(namespace: str, host: HostSettings) -> str:
    """Return the registry to name: *namespace*, unless the path of *host* begins with another.

    The path of a host for all registries names none of them.
    """
    first = host.path.partition("/")[0]
    return fold_alias(first) if looks_like_host(first) and not host.shared else namespace


def asks_with_ns(namespace: str, host: HostSettings) -> bool:
    """Return whether requests to *host* need ``ns``: if it is neither *namespace* nor an alias of it.

    A namespace that is not a host name (``mirror``) is known to this daemon only and is not sent,
    unless a client has named it and the host is shared.
    """
    if host.shared:
        return bool(host.path) or not is_registry_itself(namespace, host)
    return looks_like_host(namespace) and not is_registry_itself(namespace, host)


def is_registry_itself(namespace: str, host: HostSettings) -> bool:
    """Return whether *host* is the registry *namespace*, under that name or an alias, at its usual port."""
    names = {fold_alias(name) for name in (namespace, host.host)}
    if not host.tls:
        names = {name.removesuffix(":80") for name in names}
    return len(names) == 1


def with_ns(url: str, namespace: str) -> str:
    """Add ``ns`` to the query of *url*, unless it is there."""
    if any(key == "ns" for key, _ in parse_qsl(query_of(url), keep_blank_values=True)):
        return url
    return with_query(url, f"ns={quote(namespace, safe=':[]')}")


def is_about(namespace: str, answered: str | None) -> bool:
    """Return whether the ``OCI-Namespace`` of a response means *namespace*."""
    return answered is None or fold_alias(answered.strip().lower()) == namespace
