"""Outgoing connections: proxies from the environment, and which addresses are allowed."""

from __future__ import annotations

from oci_registry.config.credentials import EXPOSED
from oci_registry.config.options import OptionReader
from oci_registry.config.proxies import parse_exception, parse_proxy
from oci_registry.config.settings import EgressSettings, ProxySettings

_Given = tuple[str, str] | None


def load_egress(options: OptionReader, *, allow_dynamic: bool) -> EgressSettings:
    """Return the settings of servers without their own; errors become problems.

    Variables in lower case precede those in upper case. ``allow_dynamic``: whether registries that are
    not configured are mirrored.
    """
    https = options.variable("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")
    http = options.variable("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")
    # One variable may set both, and its problem is reported once.
    proxies = {given: _proxy(options, given) for given in dict.fromkeys((https, http))}
    return EgressSettings(
        https_proxy=proxies[https],
        http_proxy=proxies[http],
        no_proxy=_exceptions(options),
        allow_private=_allow_private(options, allow_dynamic=allow_dynamic),
    )


def _proxy(options: OptionReader, given: _Given) -> ProxySettings | None:
    if given is None:
        return None
    source, text = given
    try:
        # Other programs that share the variable also accept a host alone.
        proxy = parse_proxy(text if "://" in text else f"http://{text}")
    except ValueError as error:
        options.findings.problem(source, error)
        return None
    if proxy.exposed:
        options.findings.warning(source, EXPOSED)
    return proxy


def _exceptions(options: OptionReader) -> tuple[str, ...]:
    given = options.variable("no_proxy", "NO_PROXY")
    if given is None:
        return ()
    found: dict[str, None] = {}
    for text in given[1].replace(",", " ").split():
        try:
            found[parse_exception(text)] = None
        except ValueError as error:
            # A value that other programs understand must not prevent the start.
            options.findings.warning(given[0], f"ignored: {error}")
    return tuple(found)


def _allow_private(options: OptionReader, *, allow_dynamic: bool) -> bool:
    allowed = options.switch("allow-private-upstreams")
    if allowed and not allow_dynamic:
        options.warning("allow-private-upstreams", "has no effect with --upstreams configured")
    return allowed
