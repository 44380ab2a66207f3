"""The command line of a storage in a bucket."""

from __future__ import annotations

import json
import os
from pathlib import Path

from oci_registry.config.settings import ProxySettings, S3Settings
from oci_registry.tap import Options

from .config.support import SECRET, pem
from .test_tap import TapTestCase


class Bucket(TapTestCase):
    """From argv to settings, and to a help."""

    def test_everything(self) -> None:
        """Every option of the bucket arrives in the settings, and the command line wins."""
        ca = self.mktemp()
        Path(ca).write_bytes(pem()[0])
        secret = self.mktemp()
        Path(secret).write_text(f"{SECRET}\n")
        os.chmod(secret, 0o600)
        options = Options({"S3_BUCKET": "other", "S3_REGION": "garage"})
        options.parseOptions(
            [
                *("s3", "--bucket", "cache", "--host", "https://minio:9000"),
                *("--access-key", "alice", "--secret-key-file", secret),
                *("--prefix", "team/a", "--addressing", "virtual", "--ca-file", ca),
                *("--spool", self.root, "--redirect", "--redirect-ranges"),
                *("--redirect-host", "https://s3.example", "--s3-connections", "64"),
                *("--proxy", "https://proxy:3128"),
            ]
        )
        self.assertEqual(
            options.settings.storage,
            S3Settings(
                bucket="cache",
                endpoint="https://minio:9000",
                access_key="alice",
                secret_key=SECRET,
                region="garage",
                prefix="team/a",
                addressing="virtual",
                ca_file=os.path.abspath(ca),
                spool=self.root,
                redirect=True,
                redirect_ranges=True,
                redirect_endpoint="https://s3.example",
                connections=64,
                proxy=ProxySettings("proxy", 3128, tls=True),
            ),
        )
        self.assertEqual(options.settings.warnings, ())

    def test_secret_key(self) -> None:
        """The secret key is in the settings alone, and the list of processes is warned of."""
        options = Options({"S3_SPOOL": self.root})
        options.parseOptions(
            ["s3", "--bucket", "cache", "--access-key", "alice", "--secret-key", SECRET]
        )
        self.assertEqual(options.settings.storage.secret_key, SECRET)
        storage = options.subOptions
        for shown in (repr(storage), str(storage), repr(options), repr(options.settings)):
            self.assertNotIn(SECRET, shown)
        self.assertNotIn(SECRET, json.dumps([dict(options), dict(storage)]))
        (warning,) = options.settings.warnings
        self.assertIn("process list", warning)
        self.refuse("s3", "--access-key", "alice", "--secret-key", SECRET, "x")
        self.refuse("s3", "--bucket", "cache", "--secret-key", SECRET)

    def test_help(self) -> None:
        """The help of the bucket names every option with its variable and default."""
        self.assertIn(" s3 ", self.printed("--help"))
        text = " ".join(self.printed("s3", "--help").split())
        self.assertTrue(text.startswith("Usage: oci-registry [options] s3 [options of s3] "), text)
        for flag, variable, default in (
            ("--host=", "S3_HOST", "AWS"),
            ("--access-key=", "S3_ACCESS_KEY", ""),
            ("--secret-key=", "S3_SECRET_KEY", ""),
            ("--secret-key-file=", "S3_SECRET_KEY_FILE", ""),
            ("--region=", "S3_REGION", "us-east-1"),
            ("--bucket=", "S3_BUCKET", "required"),
            ("--prefix=", "S3_PREFIX", "none"),
            ("--addressing=", "S3_ADDRESSING", "path"),
            ("--ca-file=", "S3_CA_FILE", ""),
            ("--spool=", "S3_SPOOL", "/var/tmp/oci-registry-spool"),
            ("--redirect", "S3_REDIRECT", "off"),
            ("--redirect-ranges", "S3_REDIRECT_RANGES", "off"),
            ("--redirect-host=", "S3_REDIRECT_HOST", "--host"),
            ("--s3-connections=", "S3_CONNECTIONS", "32"),
            ("--proxy=", "S3_PROXY", "environment"),
        ):
            found = text.find(f" {flag}" if flag.endswith("=") else f" {flag} ")
            self.assertGreater(found, 0, flag)
            # As far as the next option, which begins behind the closing parenthesis.
            entry = text[found : text.index(")", found)]
            self.assertIn(f"({variable}", entry)
            self.assertIn(default, entry)
