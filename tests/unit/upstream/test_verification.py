"""Authorities of one's own beside the system's, which are in one store for all."""

from __future__ import annotations

from typing import Any

from cryptography.x509.oid import ExtendedKeyUsageOID
from twisted.internet.ssl import CertificateOptions, trustRootFromCertificates

from oci_registry.upstream import tls
from oci_registry.upstream.tls import TlsPolicy, tls_policy
from oci_registry.upstream.verification import CertificateRefused, VerifyingContext
from tests.support.certificates import Certified
from tests.unit.upstream.handshakes import HOST, Handshake, PolicyTestCase

STORE = "store.example.net"
"""Where a registry of one's own may redirect to."""
UNKNOWN = "unknown certificate authority"


class TwoStores(PolicyTestCase):
    """An upstream with an authority of its own, on a system that trusts another."""

    def setUp(self) -> None:
        self.own, self.public = Certified("own"), Certified("public")
        self.trust(self.public)
        self.addCleanup(tls._special_context.cache_clear)

    def trust(self, authority: Certified) -> None:
        """Make it the one that the system trusts."""
        root: Any = trustRootFromCertificates([authority.as_trusted()])
        context = CertificateOptions(trustRoot=root).getContext()
        plain = VerifyingContext(context, verified=True)
        self.patch(tls, "_system_context", lambda: context)
        self.patch(tls, "_plain_context", lambda: plain)
        tls._special_context.cache_clear()

    def policy(self, *authorities: Certified) -> TlsPolicy:
        path = self.file(*(one.certificate for one in authorities or (self.own,)))
        return tls_policy(self.settings(ca_file=path))

    def test_either(self) -> None:
        """Servers that either vouches for are trusted, with certificates in between."""
        policy = self.policy()
        for authority in (self.own, self.public):
            leaf = Certified(STORE, issuer=authority)
            Handshake(policy, leaf.server(), STORE).run()
            Handshake(policy, leaf.server(authority), STORE).run()
            first = Certified("first", issuer=authority)
            second = Certified("second", issuer=first)
            leaf = Certified(STORE, issuer=second)
            Handshake(policy, leaf.server(second, first), STORE).run()
            self.assertIn(UNKNOWN, self.reason(policy, leaf, STORE))

    def test_nobody_else(self) -> None:
        """A server that neither vouches for is refused, with the reason."""
        policy = self.policy()
        stranger = Certified("stranger")
        self.assertIn("self-signed", self.reason(policy, Certified(STORE), STORE))
        self.assertIn(UNKNOWN, self.reason(policy, Certified(STORE, issuer=stranger), STORE))
        # One that is called like an authority, but is not the same.
        leaf = Certified(STORE, issuer=Certified("public"))
        self.assertIn("not valid (OpenSSL's error 7)", self.reason(policy, leaf, STORE))

    def test_all_of_it_counts(self) -> None:
        """Host, time and key usage are verified whichever authority has signed."""
        policy = self.policy()
        for authority in (self.own, self.public):
            for options, words in (
                ({"names": (HOST,)}, "hostname mismatch"),
                ({"days": -1}, "has expired"),
                ({"days": 99}, "not valid yet"),
                ({"usage": ExtendedKeyUsageOID.CLIENT_AUTH}, "is not valid"),
            ):
                leaf = Certified(STORE, issuer=authority, **options)  # type: ignore[arg-type]
                self.assertIn(words, self.reason(policy, leaf, STORE))
            leaf = Certified(STORE, issuer=authority, usage=ExtendedKeyUsageOID.SERVER_AUTH)
            Handshake(policy, leaf.server(), STORE).run()

    def test_expired_in_between(self) -> None:
        """A certificate in between must not have expired, nor an authority of the system."""
        between = Certified("between", issuer=self.public, days=-1)
        leaf = Certified(STORE, issuer=between)
        handshake = Handshake(self.policy(), leaf.server(between), STORE)
        self.assertRaises(CertificateRefused, handshake.run)
        old = Certified("old", days=-1)
        self.trust(old)
        leaf = Certified(STORE, issuer=old)
        self.assertIn("has expired", self.reason(self.policy(), leaf, STORE))

    def test_file_leads_to_the_system(self) -> None:
        """A file may hold what a server should have sent, between it and the system's authority."""
        between = Certified("between", issuer=self.public)
        leaf = Certified(STORE, issuer=between)
        self.assertIn(UNKNOWN, self.reason(self.policy(), leaf, STORE))
        Handshake(self.policy(between), leaf.server(), STORE).run()

    def test_authority_cannot_be_anybody(self) -> None:
        """A server's own certificate does not make others, unless it is that of an authority."""
        leaf = Certified(HOST, issuer=self.public, authority=False)
        forged = Certified(STORE, issuer=leaf)
        handshake = Handshake(self.policy(), forged.server(leaf), STORE)
        self.assertRaises(CertificateRefused, handshake.run)

    def test_with_our_certificate(self) -> None:
        """An upstream that is shown a certificate of ours is trusted as without it."""
        mirror = Certified("mirror")
        path = self.file(mirror.certificate, mirror.key)
        policy = tls_policy(self.settings(client_cert_file=path))
        for place in (HOST, STORE):
            Handshake(policy, Certified(place, issuer=self.public).server(), place).run()
            self.assertIn(UNKNOWN, self.reason(policy, Certified(place, issuer=self.own), place))


class Sharing(PolicyTestCase):
    """What hundreds of upstreams cost."""

    def context(self, policy: TlsPolicy, host: str = HOST) -> object:
        return (
            policy.creatorForNetloc(host.encode(), 443).clientConnectionForTLS(None).get_context()
        )

    def test_plain(self) -> None:
        """Hosts without TLS settings share one context."""
        one, other = tls_policy(self.settings()), tls_policy(self.settings("other.example.com"))
        self.assertIs(self.context(one), self.context(other))

    def test_same_content(self) -> None:
        """Hosts whose TLS files hold the same share one context, wherever these are; they are read once."""
        authority = Certified("authority")
        read: list[object] = []
        check = tls._Pem.certificates

        def note(pem: tls._Pem) -> object:
            read.append(pem)
            return check(pem)

        self.patch(tls._Pem, "certificates", note)
        policies = [
            tls_policy(self.settings(ca_file=self.file(authority.certificate))) for _ in range(20)
        ]
        self.assertEqual(1, len(read))
        self.assertEqual(1, len({id(policy.to_own.authorities) for policy in policies}))
        self.assertEqual(1, len({id(self.context(policy)) for policy in policies}))
        self.assertEqual(2, len(read))

    def test_what_differs(self) -> None:
        """Those that trust or show something else do not."""
        authority, mirror = Certified("authority"), Certified("mirror")
        ca_file = self.file(authority.certificate)
        client = self.file(mirror.certificate, mirror.key)
        policies = [
            tls_policy(self.settings(**options))
            for options in (
                {},
                {"ca_file": ca_file},
                {"ca_file": client},
                {"accept_invalid_certs": True},
                {"ca_file": ca_file, "client_cert_file": client},
                {"client_cert_file": client},
                {"accept_invalid_certs": True, "client_cert_file": client},
            )
        ]
        self.assertEqual(len(policies), len({self.context(policy) for policy in policies}))

    def test_made_when_needed(self) -> None:
        """No context is made before a connection is."""
        made: list[object] = []
        make = tls._new_context

        def note(identity: tls._Identity) -> object:
            made.append(identity)
            return make(identity)

        self.patch(tls, "_new_context", note)
        policy = tls_policy(self.settings(ca_file=self.file(Certified("a").certificate)))
        self.assertEqual([], made)
        self.context(policy)
        self.context(policy)
        self.assertEqual(1, len(made))

    def test_bounded(self) -> None:
        """However many there are, a few are kept; those that connections have continue working."""
        tls._special_context.cache_clear()
        first = Certified(HOST)
        policy = tls_policy(self.settings(ca_file=self.file(first.certificate)))
        begun = Handshake(policy, first.server())
        for number in range(tls.MAX_CONTEXTS + 5):
            authority = Certified(f"a{number}").certificate
            self.context(tls_policy(self.settings(ca_file=self.file(authority))))
        self.assertEqual(tls.MAX_CONTEXTS, tls._special_context.cache_info().currsize)
        begun.run()
        Handshake(policy, first.server()).run()

    def test_renewed(self) -> None:
        """A file that has changed is what it holds now, for upstreams that are made then."""
        old, new = Certified(HOST), Certified(HOST)
        path = self.file(old.certificate)
        before = tls_policy(self.settings(ca_file=path))
        with open(path, "wb") as file:
            file.write(new.certificate)
        after = tls_policy(self.settings(ca_file=path))
        for policy, good, bad in ((before, old, new), (after, new, old)):
            Handshake(policy, good.server()).run()
            self.assertIn("self-signed", self.reason(policy, bad))

    def test_nothing_shown(self) -> None:
        """What is in files is not shown with what they are used for."""
        mirror = Certified("mirror")
        path = self.file(mirror.certificate, mirror.key)
        shown = repr(tls_policy(self.settings(client_cert_file=path)))
        self.assertNotIn("PRIVATE", shown)
        self.assertLess(len(shown), 500)
