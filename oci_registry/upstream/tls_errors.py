"""Messages for TLS errors: the words that people search for, and what to do."""

from __future__ import annotations

import os
from collections.abc import Sequence

from OpenSSL import SSL

from oci_registry.spec.errors import shown

_CLOCK = "(or the clock of this machine is wrong)"
_UNKNOWN = "unknown certificate authority"
_CLIENT = "the server refused the client certificate (see client_cert_file)"
_VERSIONS = "no TLS version in common: the server is too old or too new"
_NO_TLS = "wrong version number: is it plain HTTP? (set tls: false)"
_MOST_NAMES = 3

# Numbers of OpenSSL (x509_vfy.h), for what an operator is likely to meet.
UNTRUSTED = {
    2: _UNKNOWN,
    18: "self-signed certificate",
    19: _UNKNOWN,
    20: _UNKNOWN,
    21: _UNKNOWN,
}
UNTIMELY = {
    9: f"the certificate is not valid yet {_CLOCK}",
    10: f"the certificate has expired {_CLOCK}",
}

# OpenSSL's reasons, without the version of the protocol before them, and ours.
_REASONS = {
    # What different versions of OpenSSL report for bytes that are not TLS.
    "wrong version number": _NO_TLS,
    "packet length too long": _NO_TLS,
    "record layer failure": _NO_TLS,
    "alert certificate required": "certificate required: set client_cert_file",
    "alert handshake failure": (
        "handshake failure: the server may require a client certificate (set client_cert_file), or "
        "has no cipher in common"
    ),
    "alert bad certificate": f"bad certificate: {_CLIENT}",
    "alert certificate expired": f"certificate expired: {_CLIENT}",
    "alert certificate unknown": f"certificate unknown: {_CLIENT}",
    "alert unknown ca": f"unknown CA: {_CLIENT}",
    "alert access denied": f"access denied: {_CLIENT}",
    "alert protocol version": f"protocol version: {_VERSIONS}",
    "unsupported protocol": f"unsupported protocol: {_VERSIONS}",
    "unrecognized name": "unrecognized name: the server does not serve this host",
}


def describe_invalid(number: int, ca_file: str | None = None) -> str:
    """Return why a certificate is not trusted, from OpenSSL's error number.

    *ca_file*: the configured file, of which only the name is shown, since clients see the message.
    """
    if number in UNTRUSTED:
        advice = "set ca_file"
        if ca_file is not None:
            advice = f"ca_file {os.path.basename(ca_file)} does not contain it"
        return f"{UNTRUSTED[number]} ({advice})"
    return UNTIMELY.get(number, f"the certificate is not valid (OpenSSL's error {number})")


def describe_mismatch(host: str, names: Sequence[str]) -> str:
    """Return the message for a certificate for *names* that does not match *host*."""
    if not names:
        return "the certificate does not say which host it is for"
    some = ", ".join(shown(name) for name in names[:_MOST_NAMES])
    more = " and others" if len(names) > _MOST_NAMES else ""
    return f"hostname mismatch: the certificate is for {some}{more}, not for {host}"


def describe_tls(error: SSL.Error) -> str:
    """Return the message for an error of OpenSSL, or of ours in the same form."""
    details = error.args[0] if error.args else None
    if not isinstance(details, list) or not details:
        return "the handshake failed"
    reason = str(details[0][-1])
    # As in "tlsv13 alert certificate required", "ssl/tls alert handshake failure".
    version, _, rest = reason.partition(" ")
    named = rest if version.startswith(("ssl", "tls")) else reason
    return _REASONS.get(named, reason)


def is_not_tls(error: SSL.Error) -> bool:
    """Whether the server has sent something other than TLS."""
    return describe_tls(error) == _NO_TLS
