"""Generators, called with little."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from oci_registry.setup.nouns import (
    Authority,
    Configuration,
    Generator,
    Mirror,
    Unusable,
    Wanted,
    choose_registries,
)

HTTP = "http://mirror.example:8080"
HTTPS = "https://mirror.example:8443"
AUTHORITY = Authority("/etc/ssl/mirror.pem", "the certificate\n")


class GeneratorTestCase(SynchronousTestCase):
    """Tests of one generator, ``generator``, with a merged file at ``path``."""

    generator: Generator
    path: str

    def configure(
        self,
        *names: str,
        url: str = HTTP,
        existing: str | bytes | None = None,
        fallback: bool = True,
        others: bool = True,
        every: bool = False,
        authority: Authority | None = None,
    ) -> Configuration:
        """The configuration for registries of these names (docker.io), with a file at ``path``."""
        data = existing.encode() if isinstance(existing, str) else existing
        registries, _ = choose_registries(names or ["docker.io"], ())
        files = {} if data is None else {self.path: data}
        wanted = Wanted(
            Mirror(url), registries, files.get, fallback, others, every=every, authority=authority
        )
        return self.generator(wanted)

    def refuse(self, existing: str | bytes) -> str:
        """Why an existing file cannot be used; the reason has nothing that only the file has."""
        error = self.assertRaises(Unusable, self.configure, existing=existing)
        self.assertEqual(error.path, self.path)
        self.assertNotIn("s3cret", error.reason)
        return str(error.reason)
