"""Whose certificates are trusted, and who is shown ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface.verify import verifyObject

from oci_registry.upstream.tls import TlsPolicy, proxy_policy, tls_policy
from oci_registry.upstream.verification import CertificateRefused
from tests.support.certificates import Certified
from tests.unit.upstream.handshakes import HOST, Handshake, PolicyTestCase


class Trusted(PolicyTestCase):
    """Certificates of servers."""

    def test_interfaces(self) -> None:
        """It is a policy."""
        policy = tls_policy(self.settings())
        self.assertTrue(verifyObject(IPolicyForHTTPS, policy))
        creator = policy.creatorForNetloc(b"h", 443)
        self.assertTrue(verifyObject(IOpenSSLClientConnectionCreator, creator))

    def test_own_authorities(self) -> None:
        """A file may hold several authorities, with text between them; each is trusted."""
        authorities = [Certified(name) for name in ("a.example.com", "b.example.com")]
        path = self.file(b"# mine", authorities[0].certificate, b"text", authorities[1].certificate)
        policy = tls_policy(self.settings(ca_file=path))
        for authority in authorities:
            Handshake(policy, Certified(HOST, issuer=authority).server()).run()

    def test_addresses(self) -> None:
        """A certificate may be for an address."""
        for address in ("192.0.2.1", "2001:db8::1"):
            certified = Certified(address)
            policy = tls_policy(self.settings(ca_file=self.file(certified.certificate)))
            Handshake(policy, certified.server(), address).run()
            self.assertIn("hostname mismatch", self.reason(policy, certified, "192.0.2.2"))

    def test_reasons(self) -> None:
        """What is wrong with a certificate is said in words."""
        good, expired = Certified(HOST), Certified(HOST, days=-1)
        other, early = Certified("other.example.com"), Certified(HOST, days=99)
        past = Certified("authority", days=-1)
        for presented, trusted, words in (
            (expired, expired, "has expired"),
            (early, early, "not valid yet"),
            (Certified(HOST, days=-1, issuer=other), other, "has expired"),
            (Certified(HOST, issuer=past), past, "has expired"),
            (other, other, "hostname mismatch"),
            (good, None, "self-signed certificate (set ca_file)"),
            (good, other, "self-signed certificate (ca_file ours.pem does not contain it)"),
            (Certified(HOST, issuer=other), None, "unknown certificate authority (set ca_file)"),
            (
                Certified(HOST, issuer=other),
                good,
                "unknown certificate authority (ca_file ours.pem does not contain it)",
            ),
        ):
            ca_file = None
            if trusted is not None:
                ca_file = str(Path(self.mktemp()).with_name("ours.pem"))
                Path(ca_file).write_bytes(trusted.certificate)
            policy = tls_policy(self.settings(ca_file=ca_file))
            self.assertIn(words, self.reason(policy, presented))

    def test_names_of_one_content(self) -> None:
        """Of two files with the same content each is named to its own hosts."""
        authority = Certified("other.example.com")
        for name in ("one.pem", "two.pem"):
            path = Path(self.mktemp()).with_name(name)
            path.write_bytes(authority.certificate)
            policy = tls_policy(self.settings(ca_file=str(path)))
            words = f"self-signed certificate (ca_file {name} does not contain it)"
            self.assertEqual(words, self.reason(policy, Certified(HOST)))

    def test_any(self) -> None:
        """Any certificate is accepted only if that is configured; a name is still sent, an address is not."""
        certified = Certified("other.example.com", days=-1)
        policy = tls_policy(self.settings(accept_invalid_certs=True))
        for host, sent in (
            (HOST, HOST.encode()),
            ("127.0.0.1", None),
            ("::1", None),
            ("fe80::1", None),
        ):
            handshake = Handshake(policy, certified.server(), host)
            handshake.run()
            self.assertEqual(sent, handshake.server.get_servername(), host)

    def test_name_is_sent(self) -> None:
        """A server learns which name is wanted, if it is one."""
        for host, sent in ((HOST, HOST.encode()), ("192.0.2.1", None)):
            certified = Certified(host)
            policy = tls_policy(self.settings(ca_file=self.file(certified.certificate)))
            handshake = Handshake(policy, certified.server(), host)
            handshake.run()
            self.assertEqual(sent, handshake.server.get_servername())

    def test_two_hosts_at_once(self) -> None:
        """Each connection is verified for its own host, though they share the trusted authorities."""
        one, other = Certified("one.example.com"), Certified("other.example.com")
        path = self.file(one.certificate, other.certificate)
        policy = tls_policy(self.settings(ca_file=path))
        first = Handshake(policy, one.server(), "one.example.com")
        wrong = Handshake(policy, one.server(), "other.example.com")
        self.assertRaises(CertificateRefused, wrong.run)
        first.run()

    def test_proxies(self) -> None:
        """A proxy is trusted if the upstream's authorities vouch for it, and never blindly."""
        certified = Certified("proxy.example.com")
        settings = self.settings(accept_invalid_certs=True)
        self.reason(proxy_policy(settings), certified, "proxy.example.com")
        settings = self.settings(ca_file=self.file(certified.certificate))
        Handshake(proxy_policy(settings), certified.server(), "proxy.example.com").run()


class BadFiles(PolicyTestCase):
    """Files that are of no use."""

    def bad(self, path: str, **options: Any) -> None:
        """The settings are an error that names the file and nothing out of it."""
        with self.assertRaises(ValueError) as caught:
            tls_policy(self.settings(**options))
        self.assertIn(path, str(caught.exception))
        self.assertNotIn("s3cret", str(caught.exception))

    def test_missing(self) -> None:
        """A file that is not there is an error at start."""
        path, certified = self.mktemp(), Certified(HOST)
        for options in (
            {"ca_file": path},
            {"client_cert_file": path},
            {"client_cert_file": self.file(certified.certificate), "client_key_file": path},
        ):
            with self.assertRaises(OSError):
                tls_policy(self.settings(**options))

    def test_no_certificate(self) -> None:
        """A file without a certificate, or with a broken one, is an error at start."""
        broken = b"-----BEGIN CERTIFICATE-----\nnothing\n-----END CERTIFICATE-----\n"
        for content in (b"", b"hello s3cret", b"\xff" * 100, broken, Certified(HOST).key):
            path = self.file(content)
            self.bad(path, ca_file=path)
            self.bad(path, client_cert_file=path)

    def test_no_key(self) -> None:
        """A certificate without its key, with another's, or with one that is locked, is an error at start."""
        certified = Certified(HOST)
        cert_file = self.file(certified.certificate)
        locked = serialization.load_pem_private_key(certified.key, None).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"s3cret"),
        )
        self.bad(cert_file, client_cert_file=cert_file)
        for content in (b"", b"s3cret", certified.certificate, locked):
            path = self.file(content)
            self.bad(path, client_cert_file=cert_file, client_key_file=path)
        other = self.file(Certified(HOST).key)
        self.bad(cert_file, client_cert_file=cert_file, client_key_file=other)


class Shown(PolicyTestCase):
    """The certificate of ours."""

    def setUp(self) -> None:
        self.authority, self.own = Certified("authority"), Certified("mirror")
        between = Certified("between", issuer=self.authority)
        self.own = Certified("mirror", issuer=between)
        self.cert_file = self.file(self.own.certificate, between.certificate)
        self.key_file = self.file(self.own.key)
        self.server = Certified(HOST)

    def policy(self, host: str = HOST, **options: Any) -> TlsPolicy:
        options.setdefault("ca_file", self.file(self.server.certificate))
        return tls_policy(
            self.settings(
                host, client_cert_file=self.cert_file, client_key_file=self.key_file, **options
            )
        )

    def shown(self, policy: TlsPolicy, host: str = HOST, port: int = 443) -> bool:
        """Whether a server that asks for a certificate gets ours."""
        asking = self.server.server(clients=self.authority, demanding=False)
        handshake = Handshake(policy, asking, host, port)
        handshake.run()
        got = handshake.server.get_peer_certificate(as_cryptography=True)
        return got is not None and "mirror" in got.subject.rfc4514_string()

    def test_demanded(self) -> None:
        """A server that demands one gets it, with the chain to an authority that it trusts."""
        demanding = self.server.server(clients=self.authority)
        handshake = Handshake(self.policy(), demanding)
        handshake.run()
        self.assertIsNotNone(handshake.server.get_peer_certificate(as_cryptography=True))

    def test_only_there(self) -> None:
        """Only the upstream's own host, at its own port, gets it; whatever else asks does not."""
        for options in ({}, {"accept_invalid_certs": True}):
            policy = self.policy(**options)
            self.assertTrue(self.shown(policy))
            self.assertTrue(self.shown(policy, HOST.upper()))
            self.assertFalse(self.shown(policy, HOST, 8443))
        for host in ("other.example.com", f"sub.{HOST}", "192.0.2.1"):
            self.assertFalse(self.shown(policy, host))
        policy = self.policy(f"{HOST}:5000")
        self.assertTrue(self.shown(policy, HOST, 5000))
        self.assertFalse(self.shown(policy, HOST, 443))

    def test_not_to_proxies(self) -> None:
        """A proxy does not get it, even if it is where the upstream is."""
        settings = self.settings(
            ca_file=self.file(self.server.certificate),
            client_cert_file=self.cert_file,
            client_key_file=self.key_file,
        )
        self.assertFalse(self.shown(proxy_policy(settings)))

    def test_one_file(self) -> None:
        """Certificate and key may be in one file."""
        both = self.file(self.own.key, Path(self.cert_file).read_bytes())
        ca_file = self.file(self.server.certificate)
        policy = tls_policy(self.settings(ca_file=ca_file, client_cert_file=both))
        self.assertTrue(self.shown(policy))
