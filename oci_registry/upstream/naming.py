"""The query field ``ns``, which tells a shared host the registry of a request.

A host that is not the registry itself may be a mirror of many (another instance of this daemon, one
of spegel): asked without ``ns`` it takes every name for one of its default registry, and answers with
that one's image.  Registries pass over a field that they do not know; those that do not are asked
again without it.

A path before the repositories that begins with the name of a host says which registry is meant there.
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
    """Whether one host is sent ``ns``, and what it has shown of that so far.

    Send `added_to` the URL; where the answer `may_refuse` the field, the URL as it is, and use that
    answer if it `replaces` the first. Only answers of the host itself count, and none of where it redirects to.

    A host that is shared by registries without an entry is never asked without the field: it would
    take every name for one of the same registry.
    """

    def __init__(self, namespace: str, host: HostSettings) -> None:
        self._namespace = registry_meant(namespace, host)
        self._strict = host.shared
        self.sent = asks_with_ns(self._namespace, host)
        self._settled = host.shared or not self.sent

    def added_to(self, url: str) -> str:
        """Return *url* with the field, if this host is sent it."""
        return with_ns(url, self._namespace) if self.sent else url

    def may_refuse(self, status: int) -> bool:
        """Whether a response to a request with the field may mean that the host rejects the field.

        Never after the host has answered such a request successfully.
        """
        if status <= _LAST_GOOD or status in _SETTLED:
            self._settled = True
        return not self._settled and status in REFUSALS

    def is_another(self, status: int, about: str | None) -> bool:
        """Whether a good answer, with ``OCI-Namespace`` *about*, shows that the field was ignored.

        A host of a single registry may use another name for it; a shared host must not.
        """
        return self._strict and status <= _LAST_GOOD and not is_about(self._namespace, about)

    def replaces(self, status: int, about: str | None) -> bool:
        """Whether an answer without the field, with ``OCI-Namespace`` *about*, is to be used.

        It is not if that is refused as well, or about another registry. After a good one the field is
        not sent any more.
        """
        if status in REFUSALS or not is_about(self._namespace, about):
            return False
        if status <= _LAST_GOOD:
            self.sent, self._settled = False, True
        return True


def registry_meant(namespace: str, host: HostSettings) -> str:
    """Return the registry to name: *namespace*, unless the path of *host* begins with another.

    The path of a host that registries share means none of them.
    """
    first = host.path.partition("/")[0]
    return fold_alias(first) if looks_like_host(first) and not host.shared else namespace


def asks_with_ns(namespace: str, host: HostSettings) -> bool:
    """Whether requests to *host* need ``ns``: it is neither *namespace* nor an alias of it.

    A namespace that is no host's name (``mirror``) is one of this daemon's own and means nothing to
    others, unless a client has named it, for a shared host to know.
    """
    if host.shared:
        return bool(host.path) or not is_registry_itself(namespace, host)
    return looks_like_host(namespace) and not is_registry_itself(namespace, host)


def is_registry_itself(namespace: str, host: HostSettings) -> bool:
    """Whether *host* is what *namespace* names, under that name or an alias, at its usual port."""
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
    """Whether an answer is about *namespace*, judged by its ``OCI-Namespace``."""
    return answered is None or fold_alias(answered.strip().lower()) == namespace
