"""Files that the configuration names."""

from __future__ import annotations

import os
from threading import Event, Thread
from types import SimpleNamespace
from unittest.mock import patch

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from oci_registry.config.files import (
    MAX_FILE_SIZE,
    FileContent,
    NoAnswer,
    ReadOnly,
    check_certificates,
    check_directory,
    check_private_key,
    check_store,
    fingerprint,
    in_time,
    read_file,
)

from .support import SECRET, ConfigTestCase, pem


class Reading(ConfigTestCase):
    """read_file."""

    def test_content_and_mode(self) -> None:
        """The bytes come with the permissions, and stay out of repr."""
        content = read_file(self.write("a", SECRET, 0o640))
        self.assertEqual(content.data, SECRET.encode())
        self.assertEqual(content.mode, 0o640)
        self.assertTrue(content.exposed)
        self.assertNotIn(SECRET, repr(content))

    def test_not_regular(self) -> None:
        """Pipes and devices, which might say nothing or never end, are not waited for."""
        pipe = str(self.directory / "pipe")
        os.mkfifo(pipe)
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        os.write(writing, b"[]")
        os.close(writing)
        for path in (pipe, "/dev/zero", "/dev/null", f"/dev/fd/{reading}"):
            with self.assertRaisesRegex(ValueError, "is not a regular file"):
                read_file(path)

    def test_private(self) -> None:
        """A file for its owner alone is not exposed."""
        self.assertFalse(read_file(self.write("a", "", 0o600)).exposed)

    def test_fingerprint(self) -> None:
        """What is in files, and in which, makes a difference, be they there or not; the secret stays out."""
        a, b = self.write("a", SECRET), self.write("b", "other")
        places = [(a, b), (b, a), (a, None), (a, str(self.directory / "c")), (a, a)]
        fingerprints = {fingerprint(*paths) for paths in places}
        self.assertEqual(len(fingerprints), len(places))
        self.assertEqual(fingerprint(None, None), "")
        self.assertNotIn(SECRET, "".join(fingerprints))
        self.write("b", "another")
        self.assertNotIn(fingerprint(a, b), fingerprints)
        self.assertFalse(read_file(self.write("b", "", 0o400)).exposed)

    def test_handed_out(self) -> None:
        """A file of somebody else may be read by its group, by which we read it, and no more."""
        for mode, exposed in {0o440: False, 0o640: False, 0o460: True, 0o444: True}.items():
            self.assertEqual(exposed, FileContent(b"", mode, own=False).exposed, oct(mode))
            self.assertTrue(FileContent(b"", mode).exposed)

    def test_owner(self) -> None:
        """A file is ours if it belongs to who we are, and for root all are."""
        path = self.write("a", "")
        uid = os.stat(path).st_uid
        for who, own in ((uid, True), (0, True), (uid + 1, False)):
            self.patch(os, "geteuid", lambda who=who: who)
            self.assertEqual(own, read_file(path).own)

    def test_largest(self) -> None:
        """A file of exactly the limit is read; one byte more is refused."""
        self.assertEqual(len(read_file(self.write("a", b"x" * MAX_FILE_SIZE)).data), MAX_FILE_SIZE)
        error = self.assertRaises(
            ValueError, read_file, self.write("b", b"x" * MAX_FILE_SIZE + b"x")
        )
        self.assertIn("longer than", str(error))

    def test_unreadable(self) -> None:
        """What is no file is refused with the system's own reason."""
        for path, reason in {
            "": "empty",
            str(self.directory): "Is a directory",
            str(self.directory / "missing"): "No such file",
            self.write("file", "") + "/below": "Not a directory",
            "a\0b": "not a valid file name",
            "x" * 5000: "too long",
        }.items():
            error = self.assertRaises(ValueError, read_file, path)
            self.assertIn(reason, str(error))


class Certificates(ConfigTestCase):
    """check_certificates."""

    def test_usable(self) -> None:
        """A file with a certificate is one, whatever else is in it."""
        certificate, key = pem()
        check_certificates(self.write("ca.pem", b"# ours\n" + certificate + key))

    def test_refused(self) -> None:
        """A missing file, one without a certificate and a broken one are distinguished."""
        certificate, key = pem()
        for path, reason in {
            str(self.directory / "missing"): "cannot be read: No such file",
            self.write("key.pem", key): "no certificate",
            self.write("broken.pem", certificate[:100]): "invalid",
        }.items():
            error = self.assertRaises(ValueError, check_certificates, path)
            self.assertIn(reason, str(error))


class Keys(ConfigTestCase):
    """check_private_key."""

    def setUp(self) -> None:
        super().setUp()
        self.certificate, self.key = pem()
        self.path = self.write("own.pem", self.certificate)

    def refusal(self, key: bytes, certificate: bytes | None = None) -> str:
        path = self.write("certificate.pem", certificate or self.certificate)
        error = self.assertRaises(ValueError, check_private_key, self.write("key.pem", key), path)
        return str(error)

    def test_usable(self) -> None:
        """A key is one, in either form, beside its certificate or alone, and comes with its mode."""
        old = load_pem_private_key(self.key, None).private_bytes(
            Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()
        )
        for content in (self.key, old, self.certificate + self.key, self.key + self.certificate):
            path = self.write("key.pem", content, 0o640)
            self.assertTrue(check_private_key(path, self.path).exposed)

    def test_chain(self) -> None:
        """Behind the certificate may be those of its issuers; before it they may not."""
        other = pem()[0]
        path = self.write("key.pem", self.key)
        check_private_key(path, self.write("chain.pem", self.certificate + other))
        self.assertIn("does not match", self.refusal(self.key, other + self.certificate))

    def test_refused(self) -> None:
        """What is wrong with a key is reported, and nothing of it."""
        rsa_key = rsa.generate_private_key(65537, 2048)
        for content, reason in (
            (self.certificate, "contains no private key"),
            (b"", "contains no private key"),
            (pem()[1], "does not match the certificate"),
            (pem(rsa_key)[1], "does not match the certificate"),
            (self.key[:100], "cannot be used: it is broken"),
            (self.key.replace(b"M", b"!"), "cannot be used: it is broken"),
        ):
            message = self.refusal(content)
            self.assertIn(reason, message)
            self.assertNotIn(str(self.directory), message)

    def test_encrypted(self) -> None:
        """An encrypted key is refused in either form, and nobody is asked for a password."""
        key = load_pem_private_key(self.key, None)
        for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
            content = key.private_bytes(Encoding.PEM, form, BestAvailableEncryption(b"x"))
            self.assertIn("an encrypted private key", self.refusal(content))

    def test_weak(self) -> None:
        """A key that TLS does not take is refused in the words of OpenSSL."""
        certificate, key = pem(rsa.generate_private_key(65537, 1024))
        self.assertIn("cannot be used: ee key too small", self.refusal(key, certificate))

    def test_missing(self) -> None:
        """A file that is not there is reported by the system's reason."""
        missing = str(self.directory / "missing")
        error = self.assertRaises(ValueError, check_private_key, missing, self.path)
        self.assertIn("No such file", str(error))


class Directories(ConfigTestCase):
    """check_directory."""

    def test_usable(self) -> None:
        """A directory is fine, and so is one that can be made, which it is not yet."""
        check_directory(str(self.directory))
        new = self.directory / "a" / "b"
        check_directory(str(new))
        self.assertFalse(new.parent.exists())

    def test_in_time(self) -> None:
        """What a check returns or raises is passed on, unless it takes too long."""
        self.assertEqual("x!", in_time(lambda path: f"{path}!", "x"))
        self.assertRaises(ValueError, in_time, check_directory, self.write("file", ""))
        gate = Event()
        self.addCleanup(gate.set)
        error = self.assertRaises(NoAnswer, in_time, lambda _: gate.wait(), "/x", 0.01)
        self.assertEqual("/x did not answer within 0.01 s", str(error))
        with patch.object(Thread, "start", side_effect=RuntimeError("can't start new thread")):
            error = self.assertRaises(NoAnswer, in_time, check_directory, "/x")
        self.assertEqual("/x cannot be examined: can't start new thread", str(error))

    def test_read_only_store(self) -> None:
        """A store on a read-only volume has to be readable."""
        self.patch(os, "statvfs", lambda path: SimpleNamespace(f_flag=os.ST_RDONLY))
        self.patch(os, "access", lambda path, mode: not mode & os.W_OK)
        self.assertIsNone(check_store(str(self.directory)))
        self.patch(os, "access", lambda path, mode: False)
        self.assertRaises(ReadOnly, check_store, str(self.directory))

    def test_refused(self) -> None:
        """What is in the way is named, not what was asked for."""
        file = self.write("file", "")
        for path in (file, f"{file}/a/b"):
            error = self.assertRaises(ValueError, check_directory, path)
            self.assertEqual(str(error), f"{file} is not a directory")
        self.patch(os, "access", lambda path, mode: False)
        error = self.assertRaises(ValueError, check_directory, str(self.directory / "a"))
        self.assertEqual(str(error), f"{self.directory} cannot be written to")
