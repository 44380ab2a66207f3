"""The hosts of an upstream: the one in its entry, or one for each item of ``hosts``."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from oci_registry.config.credentials import COLON, make_credentials, parse_token_server
from oci_registry.config.documents import Entry, Value
from oci_registry.config.fields import Fields, boolean, text
from oci_registry.config.files import (
    FileContent,
    check_certificates,
    check_private_key,
    fingerprint,
    read_secret,
)
from oci_registry.config.names import Location, fold_alias, parse_location
from oci_registry.config.proxies import parse_proxy
from oci_registry.config.settings import (
    BUILTIN_UPSTREAMS,
    CATCH_ALL,
    DIRECT,
    FROM_ENVIRONMENT,
    Credentials,
    HostSettings,
    ProxySettings,
)
from oci_registry.spec.urls import PORTS, authority, split_authority

#: Every key a host may have.
HOST_KEYS = (
    "host",
    "tls",
    "accept_invalid_certs",
    "ca_file",
    "client_cert_file",
    "client_key_file",
    "username",
    "password",
    "password_file",
    "token_servers",
    "proxy",
)
#: The most hosts an upstream may have.
MAX_HOSTS = 8
#: The most token servers a host may have.
MAX_TOKEN_SERVERS = 16


def read_hosts(
    fields: Fields, entry_keys: Collection[str], *, catch_all: bool = False
) -> tuple[HostSettings, ...]:
    """Return the hosts of an entry, which may have ``entry_keys``; invalid ones become problems.

    ``catch_all``: the entry is for every registry without its own, so a host may be the registry
    itself.
    """
    parse = _parse_any if catch_all else _parse_named
    if fields.given("hosts") is not None:
        return _read_list(fields, entry_keys, parse)
    if fields.given("host") is None:
        fields.problem("host", "is required, or hosts")
    host = _read_host(fields, fields.parsed("host", parse), FROM_ENVIRONMENT)
    return () if host is None else (host,)


def holds_password(entry: Entry) -> bool:
    """Return whether the entry, or one of its hosts, has a password."""
    hosts = entry.fields.get("hosts")
    items = hosts.value[:MAX_HOSTS] if hosts is not None and isinstance(hosts.value, list) else ()
    mappings = (entry.fields, *(item.value for item in items if isinstance(item.value, dict)))
    return any(_holds_password(mapping) for mapping in mappings)


def _holds_password(mapping: Mapping[str, Value]) -> bool:
    password, proxy = mapping.get("password"), mapping.get("proxy")
    return (password is not None and not password.unset) or (
        proxy is not None and isinstance(proxy.value, str) and "@" in proxy.value
    )


def _parse_any(name: str) -> Location:
    return Location(CATCH_ALL) if name.strip() == CATCH_ALL else parse_location(name)


def _parse_named(name: str) -> Location:
    if name.strip() == CATCH_ALL:
        raise ValueError("host '*' is allowed only with namespace '*': write the registry's host")
    return parse_location(name)


def _read_list(
    fields: Fields, entry_keys: Collection[str], parse: Callable[[str], Location]
) -> tuple[HostSettings, ...]:
    for key in HOST_KEYS:
        if fields.given(key) is not None and key != "proxy":
            fields.problem(key, "belongs to the items of hosts, not to the entry")
    proxy = fields.parsed("proxy", _parse_proxy) or FROM_ENVIRONMENT
    hosts: list[HostSettings] = []
    taken: set[tuple[str, str]] = set()
    for number, item in enumerate(fields.read("hosts", _items) or (), 1):
        # An item that is not a mapping is the name of a host with default settings.
        mapping = item.value if isinstance(item.value, dict) else {"host": item}
        own = Fields(
            Entry(number, item.line, mapping),
            fields.path,
            fields.findings,
            f"{fields.where}, host {number}",
        )
        location = own.required("host", parse)
        if location is not None:
            own.where += f" ({location.host})"
        own.check_keys(HOST_KEYS, entry_keys)
        host = _read_host(own, location, proxy)
        if host is None:
            continue
        names = {(host.host, host.path), (_with_port(host), host.path)}
        if names & taken:
            own.problem("host", f"{host.name} is given twice")
        taken |= names
        hosts.append(host)
    return tuple(hosts)


def _items(value: Value) -> list[Value]:
    if not isinstance(value.value, list):
        raise ValueError("must be a list of hosts ('- host: ...')")
    if not 1 <= len(value.value) <= MAX_HOSTS:
        raise ValueError(f"must be from 1 to {MAX_HOSTS} hosts, not {len(value.value)}")
    return value.value


def _read_host(
    fields: Fields, location: Location | None, proxy: ProxySettings | str
) -> HostSettings | None:
    """Return the host at ``location``, with ``proxy`` unless it has its own; ``None`` if it is invalid."""
    if location is not None and location.host == CATCH_ALL:
        return _read_registry_itself(fields, proxy)
    switches = fields.read_all({"tls": boolean, "accept_invalid_certs": boolean})
    ca_file = fields.file("ca_file", check_certificates)
    certificate, key = _client_certificate(fields)
    credentials = _credentials(fields)
    token_servers = fields.texts("token_servers", parse_token_server, MAX_TOKEN_SERVERS)
    proxy = fields.parsed("proxy", _parse_proxy) or proxy
    if location is None:
        return None
    return HostSettings(
        host=_served_at(fields, location.host),
        path=location.path,
        absolute=location.absolute,
        ca_file=ca_file and ca_file[0],
        client_cert_file=certificate,
        client_key_file=key,
        credentials=credentials,
        token_servers=token_servers,
        proxy=proxy,
        fingerprint=fingerprint(ca_file and ca_file[0], certificate, key),
        **switches,
    )


def _read_registry_itself(fields: Fields, proxy: ProxySettings | str) -> HostSettings:
    """Return the host that stands for any registry that a client names: it gets no credentials."""
    for key in HOST_KEYS:
        if fields.given(key) is not None and key not in ("host", "proxy"):
            fields.problem(
                key,
                "is not allowed with host '*', which stands for any registry that a client names",
            )
    return HostSettings(CATCH_ALL, proxy=fields.parsed("proxy", _parse_proxy) or proxy)


def _served_at(fields: Fields, host: str) -> str:
    """Return the host of the API: the name of a registry may be that of a web site, as with Docker Hub."""
    for builtin in BUILTIN_UPSTREAMS:
        own = builtin.hosts[0].host
        if fold_alias(host) == builtin.namespace and host.removesuffix(":443") != own:
            fields.warning("host", f"{host} is reached at {own}: write that host")
            return own
    return host


def _with_port(host: HostSettings) -> str:
    name, port = split_authority(host.host)
    return authority(name, port or PORTS[host.scheme])


def _parse_proxy(url: str) -> ProxySettings | str:
    if url.strip().lower() == DIRECT:
        return DIRECT
    try:
        return parse_proxy(url)
    except ValueError as error:
        raise ValueError(f"{error}; to use no proxy, write none") from None


def _client_certificate(fields: Fields) -> tuple[str | None, str | None]:
    """Return the files with certificate and key, which may be the same."""
    if fields.given("client_cert_file") is None:
        if fields.given("client_key_file") is not None:
            fields.problem("client_key_file", "requires client_cert_file")
        return None, None
    certificate = fields.file("client_cert_file", check_certificates)
    if certificate is None:
        return None, None
    path, _ = certificate
    in_one = fields.given("client_key_file") is None
    at = "client_cert_file" if in_one else "client_key_file"
    key = fields.file(at, lambda name: check_private_key(name, path))
    if key is None:
        return None, None
    fields.warn_if_exposed(at, *key)
    return path, key[0]


def _credentials(fields: Fields) -> Credentials | None:
    username = fields.read("username", text)
    password = _password(fields)
    if fields.given("username") is None:
        for key in ("password", "password_file"):
            if fields.given(key) is not None:
                fields.problem(key, "requires username")
        return None
    alone = fields.given("password") is None and fields.given("password_file") is None
    if alone:
        fields.warning(
            "username", "has neither password nor password_file: an empty password is sent"
        )
    if username is None or (password is None and not alone):
        return None
    try:
        credentials = make_credentials(username, password)
    except ValueError as error:
        fields.problem("username", error)
        return None
    if credentials.ambiguous:
        fields.warning("username", COLON)
    return credentials


def _password(fields: Fields) -> str | None:
    if fields.given("password_file") is None:
        return fields.read("password", text)
    if fields.given("password") is not None:
        fields.problem("password_file", "cannot be combined with password: keep one of them")
        return None
    file = fields.file("password_file", _read_password)
    if file is None:
        return None
    path, (password, content) = file
    fields.warn_if_exposed("password_file", path, content)
    return password


def _read_password(path: str) -> tuple[str, FileContent]:
    # Blanks may be a part of the password.
    return read_secret(path, lambda text: text.rstrip("\r\n"))
