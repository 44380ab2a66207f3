"""Options of the admin API."""

from __future__ import annotations

from oci_registry.config.admin import read_token
from oci_registry.config.listen import is_socket, mode_of, parse_listen
from oci_registry.config.shown import show

from .support import LoaderTestCase

TOKEN = "0123456789abcdef-._~+/=="


class Places(LoaderTestCase):
    """Where the API is served."""

    def test_socket(self) -> None:
        """There is a socket in the directory of the store unless a place is none."""
        self.assertTrue(self.load().admin_socket)
        self.assertTrue(self.load({"admin-listen": [":4"]}).admin_socket)
        for flags, environ, places in (
            ({"admin-listen": ["none"]}, {}, ()),
            ({"admin-listen": ["None", ":4"]}, {}, ("tcp:4",)),
            ({}, {"ADMIN_LISTEN": "none 4"}, ("tcp:4",)),
        ):
            settings = self.load(flags, environ)
            self.assertEqual((places, False), (settings.admin_listen, settings.admin_socket))

    def test_permissions(self) -> None:
        """The description of a socket may give its permissions."""
        for text, mode in (
            ("unix:/run/a.sock", None),
            ("unix:/run/a.sock:mode=660", 0o660),
            ("unix:/run/a.sock:666", 0o666),
            ("unix:/run/a.sock:lockfile=0", None),
            ("unix:/run/a:b.sock", None),
        ):
            endpoint = parse_listen(text)
            self.assertTrue(is_socket(endpoint))
            self.assertEqual(mode, mode_of(endpoint), text)
        self.assertFalse(is_socket(parse_listen("127.0.0.1:1")))


class Tokens(LoaderTestCase):
    """The file of the token."""

    def test_read(self) -> None:
        """The token is read without the white space around it, and shown nowhere."""
        path = self.write("token", f"  {TOKEN}\n\n")
        for flags, environ in (
            ({"admin-token-file": path, "admin-listen": [":4"]}, {}),
            ({}, {"ADMIN_TOKEN_FILE": path, "ADMIN_LISTEN": ":4"}),
        ):
            settings = self.load(flags, environ)
            self.assertEqual((path, TOKEN), (settings.admin_token_file, settings.admin_token))
            self.assertEqual((), settings.warnings)
            self.assertNotIn(TOKEN, repr(settings) + show(settings))

    def test_exposed(self) -> None:
        """A file that others may read is used, with a warning."""
        path = self.write("token", TOKEN, 0o644)
        (warning,) = self.load({"admin-token-file": path, "admin-listen": [":4"]}).warnings
        self.assertIn("mode 0644", warning)

    def test_useless(self) -> None:
        """A token that is not needed is a warning."""
        path = self.write("token", TOKEN)
        for places in ([], ["unix:/run/a.sock"]):
            flags = {"admin-token-file": path, "admin-listen": places}
            (warning,) = self.load(flags).warnings
            self.assertIn("is not used", warning)

    def test_wrong(self) -> None:
        """A file that cannot be used is a problem, which shows nothing of it."""
        for content, reason in (
            ("", "is empty"),
            (" \n", "is empty"),
            ("short", "fewer than 16"),
            ("x" * 5000, "more than 4096"),
            ("two tokens-of-some-length", "may contain only"),
            ("0123456789abcdef\n0123456789abcdef", "may contain only"),
            ("p4ssw0rd:0123456789", "may contain only"),
            ("ümlaut-0123456789abc", "may contain only"),
            (b"\xff" * 20, "is not UTF-8"),
        ):
            path = self.write("token", content)
            problem = self.one_problem({"admin-token-file": path}, {})
            self.assertIn(reason, problem)
            self.assertIn(path, problem)
            self.assertTrue(len(content) < 3 or str(content).strip() not in problem)
        missing = str(self.directory / "missing")
        self.assertIn("No such file", self.one_problem({"admin-token-file": missing}, {}))
        self.assertRaises(ValueError, read_token, str(self.directory))
