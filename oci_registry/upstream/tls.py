"""Whom we believe over TLS, and to whom we show who we are."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from attrs import evolve, frozen
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from OpenSSL import SSL, crypto
from service_identity import VerificationError
from service_identity.hazmat import DNS_ID, IPAddress_ID, verify_service_identity
from service_identity.pyopenssl import extract_patterns
from twisted.internet._sslverify import IOpenSSLTrustRoot  # what trustRoot is adapted to
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
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
from oci_registry.upstream.places import Place, address_of

# Numbers of OpenSSL (x509_vfy.h), for what an operator is likely to meet.
_REASONS = {
    2: "its certificate is from an authority that we do not know",
    9: "its certificate is not valid yet",
    10: "its certificate has expired",
    18: "its certificate is signed by nobody but itself",
    19: "its certificate is from an authority that we do not know",
    20: "its certificate is from an authority that we do not know",
    21: "its certificate is from an authority that we do not know",
}


class CertificateRefused(SSL.Error):
    """A server's certificate is not believed."""

    def __init__(self, reason: str) -> None:
        # In the form of OpenSSL's own errors, which others look into.
        super().__init__([("certificate", "", reason)])


class _Context:
    """Makes connections that are judged: by OpenSSL, and by the host that each is meant for.

    With *verified* false everybody is believed.
    """

    def __init__(self, context: SSL.Context, *, verified: bool) -> None:
        self._context = context
        # Twisted keeps something of its own where OpenSSL would keep this for us.
        self._hosts: WeakKeyDictionary[SSL.Connection, str] = WeakKeyDictionary()
        if verified:
            context.set_verify(SSL.VERIFY_PEER, self._verify)

    def connect(self, host: str) -> SSL.Connection:
        """Return a connection to *host*, a name in ASCII or an address."""
        connection = SSL.Connection(self._context, None)
        self._hosts[connection] = host
        if address_of(host) is None:
            connection.set_tlsext_host_name(host.encode("ascii"))
        return connection

    def _verify(
        self,
        connection: SSL.Connection,
        certificate: crypto.X509,
        number: int,
        depth: int,
        good: int,
    ) -> bool:
        """Judge one certificate of a chain, after OpenSSL; the handshake ends with what is raised."""
        if not good:
            reason = _REASONS.get(
                number, f"its certificate is not valid (OpenSSL's error {number})"
            )
            raise CertificateRefused(reason)
        if depth > 0:
            return True
        try:
            host = self._hosts[connection]
            wanted = DNS_ID(host) if address_of(host) is None else IPAddress_ID(host)
            verify_service_identity(extract_patterns(certificate), [wanted], [])
        except VerificationError:
            raise CertificateRefused("its certificate is for another host") from None
        except Exception:
            raise CertificateRefused("its certificate does not say for which host it is") from None
        return True


@implementer(IOpenSSLClientConnectionCreator)
@frozen
class _Connections:
    """Makes connections to one host."""

    context: _Context
    host: str

    def clientConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:
        return self.context.connect(self.host)


@implementer(IPolicyForHTTPS)
@frozen
class TlsPolicy:
    """Contexts for connections: one for *own*, one for all other places."""

    own: Place
    to_own: _Context
    to_others: _Context

    def creatorForNetloc(self, hostname: bytes, port: int) -> IOpenSSLClientConnectionCreator:
        """Return what makes connections to a place."""
        host = hostname.decode("ascii")
        to_own = Place(host.lower(), port) == self.own
        return _Connections(self.to_own if to_own else self.to_others, host)


@implementer(IOpenSSLTrustRoot)
@frozen
class _TrustRoots:
    """Several trust roots: a registry of one's own may redirect to a public store."""

    roots: Iterable[Any]

    def _addCACertsToContext(self, context: SSL.Context) -> None:
        for root in self.roots:
            root._addCACertsToContext(context)


def _read_certificates(path: str) -> list[x509.Certificate]:
    """Return the certificates in a PEM file, of which there is at least one."""
    try:
        return x509.load_pem_x509_certificates(Path(path).read_bytes())
    except ValueError:
        raise ValueError(f"{path} holds no certificate, or one that cannot be read") from None


def _read_key(path: str) -> Any:
    """Return the private key in a PEM file, which is not encrypted: nobody is there to be asked."""
    try:
        return load_pem_private_key(Path(path).read_bytes(), None)
    except (TypeError, ValueError, UnsupportedAlgorithm):
        raise ValueError(f"{path} holds no private key that can be read") from None


def _context(settings: HostSettings) -> _Context:
    """Return a context for connections to an upstream, or to where it leads."""
    options: dict[str, Any] = {}
    if settings.accept_invalid_certs:
        options |= {"verify": False, "insecurelyLowerMinimumTo": TLSVersion.TLSv1_0}
    elif settings.ca_file is None:
        options["trustRoot"] = platformTrust()
    else:
        own = [
            Certificate(crypto.X509.from_cryptography(certificate))
            for certificate in _read_certificates(settings.ca_file)
        ]
        options["trustRoot"] = _TrustRoots((platformTrust(), trustRootFromCertificates(own)))
    if settings.client_cert_file is not None:
        certificate, *chain = _read_certificates(settings.client_cert_file)
        options |= {
            "certificate": certificate,
            "extraCertChain": chain,
            "privateKey": _read_key(settings.client_key_file or settings.client_cert_file),
        }
    try:
        context: SSL.Context = CertificateOptions(**options).getContext()
    except SSL.Error:
        raise ValueError(
            f"the key for {settings.client_cert_file} is another, or cannot be used"
        ) from None
    return _Context(context, verified=not settings.accept_invalid_certs)


@cache
def _plain_context() -> _Context:
    """Return the context of whoever has nothing special; it is most of a megabyte."""
    return _context(HostSettings(""))


def _context_without_client(settings: HostSettings) -> _Context:
    if settings.accept_invalid_certs or settings.ca_file is not None:
        return _context(evolve(settings, client_cert_file=None))
    return _plain_context()


def tls_policy(settings: HostSettings) -> TlsPolicy:
    """Return how servers are judged for one host of an upstream, there and where it leads.

    The client certificate is shown to that host alone. Raises OSError or ValueError for a file that
    cannot be used.
    """
    others = _context_without_client(settings)
    own = others if settings.client_cert_file is None else _context(settings)
    return TlsPolicy(Place.of_upstream(settings), own, others)


def proxy_policy(settings: HostSettings) -> TlsPolicy:
    """Return how proxies are judged for one host of an upstream: never without a certificate."""
    return tls_policy(evolve(settings, accept_invalid_certs=False, client_cert_file=None))
