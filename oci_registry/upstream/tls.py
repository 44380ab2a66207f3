"""TLS contexts: trusted certificate authorities and client certificates of each host.

There may be hundreds of upstreams, each with its own certificate authority. Their files are checked
at once, but contexts are made when a connection needs one, are shared by hosts with the same
certificates, and are evicted when they are not used.
"""

from __future__ import annotations

from functools import cache, lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Self
from weakref import WeakValueDictionary

from attrs import evolve, field, frozen
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL, crypto
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
)
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    TLSVersion,
    platformTrust,
    trustRootFromCertificates,
)
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

from oci_registry.config.settings import HostSettings
from oci_registry.upstream.authority import Authority
from oci_registry.upstream.verification import TrustStore, VerifyingContext

MAX_CONTEXTS = 32
"""Contexts kept for further connections, beside those that connections have."""


@frozen
class _Pem:
    """The content of a PEM file."""

    content: bytes = field(repr=False, eq=False)
    digest: bytes = field(repr=False)

    @classmethod
    def read(cls, path: str) -> Self:
        content = Path(path).read_bytes()
        return cls(content, sha256(content).digest())

    def certificates(self) -> list[x509.Certificate]:
        """Return the certificates in it, at least one."""
        return x509.load_pem_x509_certificates(self.content)

    def key(self) -> Any:
        """Return the private key, which must not be encrypted."""
        return load_pem_private_key(self.content, None)


_checked: WeakValueDictionary[bytes, _Pem] = WeakValueDictionary()
"""Certificate files by digest: each content is checked, and kept, once."""


@frozen
class _Identity:
    """The cache key of a context: trusted authorities and client certificate."""

    verified: bool = True
    authorities: _Pem | None = None
    client: _Pem | None = None
    key: _Pem | None = None


_PLAIN = _Identity()


@implementer(IOpenSSLClientConnectionCreator)
@frozen
class _Connections:
    """Makes connections to one host."""

    identity: _Identity
    host: str
    ca_file: str | None

    def clientConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:
        return _context(self.identity).connect(self.host, self.ca_file)


@implementer(IPolicyForHTTPS)
@frozen
class TlsPolicy:
    """Trust and client certificates of connections to *own*, and to all other hosts.

    *ca_file*: the file with authorities that are trusted in addition to the system's.
    """

    own: Authority
    to_own: _Identity
    to_others: _Identity
    ca_file: str | None

    def creatorForNetloc(self, hostname: bytes, port: int) -> IOpenSSLClientConnectionCreator:
        """Return what makes connections to a host and port."""
        host = hostname.decode("ascii")
        to_own = Authority(host.lower(), port) == self.own
        return _Connections(self.to_own if to_own else self.to_others, host, self.ca_file)


def _read_certificates(path: str) -> _Pem:
    """Return a PEM file with certificates."""
    pem = _Pem.read(path)
    known = _checked.get(pem.digest)
    if known is not None:
        return known
    try:
        pem.certificates()
    except ValueError:
        raise ValueError(f"{path} contains no certificate that can be read") from None
    _checked[pem.digest] = pem
    return pem


def _read_key(path: str) -> _Pem:
    """Return a PEM file with a private key."""
    pem = _Pem.read(path)
    try:
        pem.key()
    except (TypeError, ValueError, UnsupportedAlgorithm):
        raise ValueError(f"{path} contains no private key that can be read") from None
    return pem


def _identity(settings: HostSettings) -> _Identity:
    """Return the trusted authorities and the client certificate for a host."""
    verified = not settings.accept_invalid_certs
    authorities = client = key = None
    if verified and settings.ca_file is not None:
        authorities = _read_certificates(settings.ca_file)
    if settings.client_cert_file is not None:
        client = _read_certificates(settings.client_cert_file)
        key = _read_key(settings.client_key_file or settings.client_cert_file)
    identity = _Identity(verified, authorities, client, key)
    if client is not None:
        try:
            _new_context(identity)
        except SSL.Error:
            raise ValueError(
                f"the private key does not match {settings.client_cert_file}, or cannot be used"
            ) from None
    return identity


def _new_context(identity: _Identity) -> VerifyingContext:
    """Return a context; SSL.Error if key and certificate do not belong together."""
    options: dict[str, Any] = {}
    own: list[crypto.X509] = []
    if not identity.verified:
        options |= {"verify": False, "insecurelyLowerMinimumTo": TLSVersion.TLSv1_0}
    elif identity == _PLAIN:
        options["trustRoot"] = platformTrust()
    else:
        certificates = identity.authorities.certificates() if identity.authorities else []
        own = [crypto.X509.from_cryptography(certificate) for certificate in certificates]
        options["trustRoot"] = trustRootFromCertificates([Certificate(one) for one in own])
    if identity.client is not None and identity.key is not None:
        certificate, *chain = identity.client.certificates()
        options |= {
            "certificate": certificate,
            "extraCertChain": chain,
            "privateKey": identity.key.key(),
        }
    context: SSL.Context = CertificateOptions(**options).getContext()
    # A private registry may redirect to a public store.
    others = "trustRoot" in options and identity != _PLAIN
    store = TrustStore(_system_context(), own) if others else None
    return VerifyingContext(context, verified=identity.verified, store=store)


@cache
def _system_context() -> SSL.Context:
    """Return a context that trusts the system's certificate authorities."""
    context: SSL.Context = CertificateOptions(trustRoot=platformTrust()).getContext()
    return context


@cache
def _plain_context() -> VerifyingContext:
    """Return the context of hosts without TLS settings."""
    return VerifyingContext(_system_context(), verified=True)


@lru_cache(MAX_CONTEXTS)
def _special_context(identity: _Identity) -> VerifyingContext:
    return _new_context(identity)


def _context(identity: _Identity) -> VerifyingContext:
    """Return the shared context for these certificates."""
    return _plain_context() if identity == _PLAIN else _special_context(identity)


def tls_policy(settings: HostSettings) -> TlsPolicy:
    """Return how servers are verified for one host of an upstream, there and on other servers.

    The client certificate is sent to that host only. Raises OSError or ValueError for a file that
    cannot be used.
    """
    own = _identity(settings)
    others = own if own.client is None else evolve(own, client=None, key=None)
    return TlsPolicy(Authority.of_upstream(settings), own, others, settings.ca_file)


def proxy_policy(settings: HostSettings) -> TlsPolicy:
    """Return how proxies of one host of an upstream are verified: without a client certificate."""
    if settings.accept_invalid_certs or settings.client_cert_file is not None:
        settings = evolve(settings, accept_invalid_certs=False, client_cert_file=None)
    return tls_policy(settings)
