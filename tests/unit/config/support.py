"""Files and certificates for the tests of the configuration."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Mapping
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.x509.oid import NameOID
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.config.findings import Findings
from oci_registry.config.loader import load_settings
from oci_registry.config.settings import ConfigError, HostSettings, Settings
from oci_registry.config.upstreams import load_upstreams

#: What no message, warning or repr may ever hold.
SECRET = "Tr0ub4dor"


def pem(key: CertificateIssuerPrivateKeyTypes | None = None) -> tuple[bytes, bytes]:
    """A self-signed certificate and its key, both PEM."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "example")])
    start = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + dt.timedelta(days=36500))
        .sign(key, hashes.SHA256())
    )
    return (
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )


class ConfigTestCase(SynchronousTestCase):
    """A test with a directory of its own and findings to look at."""

    def setUp(self) -> None:
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir(parents=True)
        self.findings = Findings()

    def write(self, name: str, content: str | bytes, mode: int = 0o600) -> str:
        """The path of a new file in the test's directory."""
        path = self.directory / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        os.chmod(path, mode)
        return str(path)

    def assert_problem(self, *parts: str) -> None:
        """There is one problem, with every one of ``parts`` and without the secret."""
        self.assertEqual(len(self.findings.problems), 1, self.findings.problems)
        for part in parts:
            self.assertIn(part, self.findings.problems[0])
        self.assert_discreet()

    def assert_fine(self, warnings: int = 0) -> None:
        """Nothing is wrong, and there are as many warnings as expected."""
        self.assertEqual(self.findings.problems, [])
        self.assertEqual(len(self.findings.warnings), warnings, self.findings.warnings)
        self.assert_discreet()

    def assert_discreet(self) -> None:
        """No finding holds the secret."""
        for text in (*self.findings.problems, *self.findings.warnings):
            self.assertNotIn(SECRET, text)


class LoaderTestCase(ConfigTestCase):
    """Loads settings from flags and an environment, with a usable root unless told otherwise."""

    def load(
        self,
        flags: Mapping[str, object] | None = None,
        environ: Mapping[str, str] | None = None,
        storage: tuple[str, Mapping[str, object]] | str | None = "",
    ) -> Settings:
        if isinstance(storage, str):
            storage = ("filesystem", {"root": str(self.directory)})
        settings = load_settings(flags or {}, storage, environ or {})
        self.findings.warnings = list(settings.warnings)
        self.assert_discreet()
        self.assertNotIn(SECRET, repr(settings))
        return settings

    def problems(
        self,
        flags: Mapping[str, object] | None = None,
        environ: Mapping[str, str] | None = None,
        storage: tuple[str, Mapping[str, object]] | str | None = "",
    ) -> list[str]:
        error = self.assertRaises(ConfigError, self.load, flags, environ, storage)
        self.assertNotIn(SECRET, str(error))
        return list(error.problems)

    def one_problem(self, *args: object) -> str:
        (problem,) = self.problems(*args)
        return problem


class HostTestCase(ConfigTestCase):
    """Hosts of the one entry of an upstream file."""

    def load(self, text: str, mode: int = 0o600) -> tuple[HostSettings, ...]:
        """The hosts of an entry that has, besides its namespace, this text."""
        self.findings.problems.clear()
        self.findings.warnings.clear()
        self.path = self.write("u.yaml", f"- namespace: a.example\n{text}\n", mode)
        loaded = load_upstreams(self.path, self.findings)
        return loaded[0].hosts if loaded else ()

    def host(self, *lines: str) -> HostSettings:
        """The one host of an entry with these lines, which is the same as an item of hosts."""
        flat = self.load("\n".join(f"  {line}" for line in ("host: b.example", *lines)))
        told = (self.findings.problems, self.findings.warnings)
        counts = [len(findings) for findings in told]
        item = "\n".join(f"    {line}" for line in lines)
        self.assertEqual(self.load(f"  hosts:\n  - host: b.example\n{item}"), flat)
        self.assertEqual([len(findings) for findings in told], counts)
        return flat[0]

    def assert_refused(self, *parts: str) -> None:
        """One thing is wrong with the item that `host` has written, in its third line."""
        where = f"{self.path}: entry 1 (a.example), host 1 (b.example), line "
        self.assert_problem(where, *parts)
