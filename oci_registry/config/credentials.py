"""User names and passwords for upstreams, from a JSON document.

The document is ``{"NAMESPACE": {"username": "...", "password": "..."}}``. Problems contain positions,
reasons and valid namespaces, but nothing else from the document.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from attrs import evolve, frozen

from oci_registry.config.catch_all import catch_all_of, unlisted
from oci_registry.config.findings import Findings
from oci_registry.config.names import fold_alias, parse_namespace, parse_server
from oci_registry.config.settings import (
    BUILTIN_UPSTREAMS,
    Credentials,
    HostSettings,
    ProxySettings,
    UpstreamSettings,
)
from oci_registry.spec.reference import looks_like_host

COLON = "contains a colon: servers read what follows it as the start of the password"
"""The problem of a user name with a colon."""
EXPOSED = "the proxy is reached over http: its credentials are sent unencrypted"
"""The warning about a proxy whose credentials anyone on the network path can read."""
_KEYS = ("username", "password")
_KINDS = {
    bool: "true or false",
    int: "a number",
    float: "a number",
    str: "text",
    list: "a list",
    type(None): "null",
}
# A key file that is used as a password is a document of several lines.
_LAYOUT = "\t\n\r"


@frozen
class _Object:
    """A JSON object with its keys in order, including duplicates."""

    pairs: tuple[tuple[str, object], ...]


def make_credentials(username: str, password: str | None, *, one_line: bool = False) -> Credentials:
    """Return credentials that can be sent as in RFC 7617; else raise `ValueError`, without the credentials.

    A password may contain line ends and tabs, unless ``one_line`` is true: the RFC forbids them, but
    Google's key files have them. Without a password, an empty one is sent.
    """
    layout = "" if one_line else _LAYOUT
    for name, text, allowed in (("username", username, ""), ("password", password, layout)):
        if text is None:
            continue
        if not text:
            raise ValueError(f"the {name} is empty")
        if any(
            (ord(character) < 0x20 or ord(character) == 0x7F) and character not in allowed
            for character in text
        ):
            raise ValueError(f"the {name} contains control characters")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError(f"the {name} cannot be written in UTF-8") from None
    return Credentials(username=username, password=password or "")


def parse_token_server(text: str) -> str:
    """Return the token server ``host[:port]`` in lower case; `ValueError` says what is accepted."""
    stripped = text.strip()
    if "@" in stripped or "/" in stripped:
        raise ValueError("must be host[:port], without a scheme, a user or a path")
    return parse_server(stripped)


def parse_credentials(
    document: str | bytes, source: str, findings: Findings
) -> dict[str, Credentials]:
    """Return the credentials in ``document`` by namespace; aliases of a registry count as its namespace.

    Invalid entries are left out and become problems of ``source``.
    """
    root = _load(document, source, findings)
    if root is None:
        return {}
    if not isinstance(root, _Object):
        findings.problem(source, f"must be a JSON object by namespace, not {_kind(root)}")
        return {}
    found: dict[str, Credentials] = {}
    for number, (key, value) in enumerate(root.pairs, 1):
        try:
            namespace = parse_namespace(key)
        except ValueError:
            findings.problem(source, f"key {number} is not the namespace of a registry")
            continue
        if namespace in found:
            findings.problem(source, f"{namespace} is given twice")
            continue
        try:
            found[namespace], ignored = _read(value)
        except ValueError as error:
            findings.problem(source, f"{namespace}: {error}")
            continue
        for key_number in ignored:
            findings.warning(
                source,
                f"{namespace}: key {key_number} is ignored: it is neither username nor password",
            )
        if found[namespace].ambiguous:
            findings.warning(source, f"{namespace}: the username {COLON}")
    return found


def apply_credentials(
    upstreams: Sequence[UpstreamSettings],
    given: Mapping[str, Credentials],
    source: str,
    findings: Findings,
    *,
    allow_dynamic: bool,
) -> tuple[UpstreamSettings, ...]:
    """Return ``upstreams`` with the credentials given elsewhere, which override their own.

    They are for the host whose name is the namespace, or for the only host. With several
    other hosts it is unknown which one is the registry, and a mirror must not get the registry's
    password. A registry that is not in ``upstreams`` is added if it can be used: if it is built in,
    or if the entry for all registries gives it a host of its own. Warnings are added for everything
    that is overridden or unused.
    """
    result = {upstream.namespace: upstream for upstream in upstreams}
    catch_all = catch_all_of(upstreams)
    if allow_dynamic and catch_all is None:
        for builtin in BUILTIN_UPSTREAMS:
            if builtin.namespace in given:
                result.setdefault(builtin.namespace, builtin)
    for namespace, credentials in given.items():
        upstream = result.get(namespace)
        if upstream is None and catch_all is not None and looks_like_host(namespace):
            upstream = _written_down(unlisted(namespace, catch_all))
        if upstream is None:
            findings.warning(
                source,
                f"the credentials for {namespace} are ignored: it is not in the upstream file",
            )
            continue
        host = _own_host(upstream)
        if host is None or host.shared:
            findings.warning(
                source,
                f"the credentials for {namespace} are ignored: none of its hosts is {namespace} "
                "itself; set them on its hosts in the upstream file",
            )
            continue
        if host.credentials is not None:
            findings.warning(
                source,
                f"the credentials for {namespace} replace those in the upstream file",
            )
        changed = evolve(host, credentials=credentials)
        hosts = tuple(changed if other is host else other for other in upstream.hosts)
        result[namespace] = evolve(upstream, hosts=hosts)
    return tuple(result.values())


def _written_down(upstream: UpstreamSettings) -> UpstreamSettings:
    """Return the upstream, marked as configured."""
    hosts = tuple(evolve(host, guarded=False) for host in upstream.hosts)
    return evolve(upstream, hosts=hosts, configured=True)


def _own_host(upstream: UpstreamSettings) -> HostSettings | None:
    """Return the host with the registry's own name, else the only host."""
    for host in upstream.hosts:
        if fold_alias(host.host) == upstream.namespace:
            return host
    return upstream.hosts[0] if len(upstream.hosts) == 1 else None


def warn_of_exposure(upstreams: Sequence[UpstreamSettings], findings: Findings) -> None:
    """Warn of credentials that are sent unencrypted, or to a host whose certificate is not verified."""
    for upstream in upstreams:
        for host in upstream.hosts:
            where = f"upstream {upstream.namespace}"
            if len(upstream.hosts) > 1:
                where += f", host {host.name}"
            if host.credentials is not None and not host.tls:
                findings.warning(where, "tls is false: credentials are sent unencrypted")
            elif host.credentials is not None and host.accept_invalid_certs:
                findings.warning(
                    where,
                    "accept_invalid_certs is true: credentials are sent to a host that is not verified",
                )
            if isinstance(host.proxy, ProxySettings) and host.proxy.exposed:
                findings.warning(where, EXPOSED)


def _load(document: str | bytes, source: str, findings: Findings) -> object:
    try:
        text = document if isinstance(document, str) else document.decode("utf-8-sig")
        root: object = json.loads(text, object_pairs_hook=lambda pairs: _Object(tuple(pairs)))
    except UnicodeDecodeError as error:
        findings.problem(source, f"is not UTF-8, at byte {error.start}")
    except json.JSONDecodeError as error:
        # The decoder may append the offending character.
        reason = "Invalid escape" if error.msg.startswith("Invalid \\escape") else error.msg
        where = f"line {error.lineno}, column {error.colno}"
        findings.problem(source, f"is not JSON: {where}: {reason}")
    except (RecursionError, ValueError):
        # It is nested a thousand levels deep, or has a number of thousands of digits.
        findings.problem(source, "cannot be parsed: it is nested too deeply or is far too large")
    else:
        if root is None:
            findings.problem(source, "must be a JSON object by namespace, not null")
        return root
    return None


def _read(value: object) -> tuple[Credentials, list[int]]:
    """Return the credentials, and the positions of ignored keys."""
    if not isinstance(value, _Object):
        raise ValueError(f"must be an object with username and password, not {_kind(value)}")
    texts: dict[str, str] = {}
    ignored: list[int] = []
    for number, (key, text) in enumerate(value.pairs, 1):
        if key not in _KEYS:
            ignored.append(number)
            continue
        if key in texts:
            raise ValueError(f"the {key} is given twice")
        if not isinstance(text, str):
            raise ValueError(f"the {key} must be text, not {_kind(text)}")
        texts[key] = text
    for key in _KEYS:
        if key not in texts:
            raise ValueError(f"the {key} is missing")
    return make_credentials(texts["username"], texts["password"]), ignored


def _kind(value: object) -> str:
    return _KINDS.get(type(value), "an object")
