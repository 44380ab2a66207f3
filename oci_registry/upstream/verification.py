"""Verification of servers over TLS."""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakKeyDictionary

from attrs import frozen
from OpenSSL import SSL, crypto
from service_identity import VerificationError
from service_identity.hazmat import DNS_ID, IPAddress_ID, verify_service_identity
from service_identity.pyopenssl import extract_patterns

from oci_registry.upstream.authority import address_of
from oci_registry.upstream.tls_errors import (
    UNTIMELY,
    UNTRUSTED,
    describe_invalid,
    describe_mismatch,
)


class CertificateRefused(SSL.Error):
    """A server's certificate is not trusted."""

    def __init__(self, reason: str) -> None:
        # In the form of OpenSSL's own errors, which others look into.
        super().__init__([("certificate", "", reason)])


class TrustStore:
    """The trusted certificates of a context, and intermediate ones.

    A store of hundreds of certificates takes most of a megabyte, so the system's store is shared.
    """

    def __init__(self, context: SSL.Context, others: Sequence[crypto.X509]) -> None:
        store = context.get_cert_store()
        assert store is not None
        self._context = context  # has the store, which is gone with it
        self._store = store
        self._others = others

    def verify(self, chain: Sequence[crypto.X509]) -> int:
        """Verify a server's certificate with the chain that it sent.

        Returns 0 if it leads to a trusted one, else OpenSSL's error number.
        """
        between = [*chain[1:], *self._others]
        try:
            crypto.X509StoreContext(self._store, chain[0], between).verify_certificate()
        except crypto.X509StoreContextError as error:
            return int(error.errors[0])
        return 0


@frozen
class _Expected:
    """The host of a connection, and the file of its own authorities, if there is one."""

    host: str
    ca_file: str | None


class VerifyingContext:
    """Makes connections that are verified by OpenSSL, with the name of the host.

    With *verified* false every certificate is accepted. *store*: certificates that are trusted in
    addition to those of *context*.
    """

    def __init__(
        self, context: SSL.Context, *, verified: bool, store: TrustStore | None = None
    ) -> None:
        self._context = context
        self._store = store
        # Twisted already uses the app data of the connection, where this would belong.
        self._expected: WeakKeyDictionary[SSL.Connection, _Expected] = WeakKeyDictionary()
        if verified:
            context.set_verify(SSL.VERIFY_PEER, self._verify)

    def connect(self, host: str, ca_file: str | None = None) -> SSL.Connection:
        """Return a connection to *host*, a name in ASCII or an address.

        *ca_file*: where the context's own certificates are from, for messages.
        """
        connection = SSL.Connection(self._context, None)
        self._expected[connection] = _Expected(host, ca_file)
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
        """Verify one certificate of a chain, after OpenSSL; raising ends the handshake."""
        if not good:
            number = self._verify_otherwise(connection, number)
            if number:
                ca_file = self._expected[connection].ca_file
                raise CertificateRefused(describe_invalid(number, ca_file))
        if depth == 0:
            self._check_host(connection, certificate)
        return True

    def _verify_otherwise(self, connection: SSL.Connection, number: int) -> int:
        """Return the error number of a chain, verified with the other store; 0 if it is valid.

        It is used for a chain that leads to no certificate trusted by the context, or to one that
        has expired. It verifies the whole chain again. Other results of OpenSSL, such as what a
        certificate may be used for, always count.
        """
        chain = connection.get_peer_cert_chain()
        if self._store is None or number not in UNTRUSTED | UNTIMELY or not chain:
            return number
        other = self._store.verify(chain)
        # The store that knows the authority gives the more specific error.
        return number if other in UNTRUSTED else other

    def _check_host(self, connection: SSL.Connection, certificate: crypto.X509) -> None:
        host = self._expected[connection].host
        names: list[str] = []
        try:
            wanted = DNS_ID(host) if address_of(host) is None else IPAddress_ID(host)
            patterns = extract_patterns(certificate)
            names = [_name(pattern) for pattern in patterns]
            verify_service_identity(patterns, [wanted], [])
        except VerificationError:
            raise CertificateRefused(describe_mismatch(host, names)) from None
        except Exception:
            raise CertificateRefused(describe_mismatch(host, [])) from None


def _name(pattern: object) -> str:
    """Return the host in a certificate's pattern, a name or an address."""
    value = getattr(pattern, "pattern", pattern)
    return value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)
