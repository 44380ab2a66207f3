"""The way out, from flags and environment."""

from __future__ import annotations

from oci_registry.config.egress import load_egress
from oci_registry.config.options import OptionReader
from oci_registry.config.settings import Credentials, EgressSettings, ProxySettings

from .support import SECRET, ConfigTestCase

ONE = ProxySettings("one", 3128)
TWO = ProxySettings("two", 443, tls=True)


class _Case(ConfigTestCase):
    """Loads egress settings from flags and variables."""

    def load(
        self, *, flag: bool = False, allow_dynamic: bool = True, **environ: str
    ) -> EgressSettings:
        self.findings.problems.clear()
        self.findings.warnings.clear()
        options = OptionReader({"allow-private-upstreams": flag}, environ, self.findings)
        return load_egress(options, allow_dynamic=allow_dynamic)


class Proxies(_Case):
    """HTTPS_PROXY, HTTP_PROXY and ALL_PROXY."""

    def test_none(self) -> None:
        """Without variables, or with empty ones, everything is reached directly."""
        self.assertEqual(self.load(), EgressSettings())
        names = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY", "ALLOW_PRIVATE_UPSTREAMS")
        for blank in ("", " \n"):
            environ = {name: blank for both in names for name in (both, both.lower())}
            self.assertEqual(self.load(**environ), EgressSettings())
        self.assert_fine()

    def test_precedence(self) -> None:
        """The scheme's own variable wins over that for all, and lower case over upper case."""
        one, two = "http://one:3128", "https://two"
        for environ, https, http in (
            ({"HTTPS_PROXY": one}, ONE, None),
            ({"HTTP_PROXY": one}, None, ONE),
            ({"HTTP_PROXY": one, "HTTPS_PROXY": two}, TWO, ONE),
            ({"HTTPS_PROXY": one, "https_proxy": two}, TWO, None),
            ({"HTTP_PROXY": one, "http_proxy": two}, None, TWO),
            ({"ALL_PROXY": one}, ONE, ONE),
            ({"ALL_PROXY": one, "all_proxy": two}, TWO, TWO),
            ({"all_proxy": one, "HTTPS_PROXY": two}, TWO, ONE),
            ({"https_proxy": "", "HTTPS_PROXY": two}, TWO, None),
        ):
            found = self.load(**environ)
            self.assertEqual((found.https_proxy, found.http_proxy), (https, http), environ)
            self.assert_fine()

    def test_no_scheme(self) -> None:
        """A host without a scheme is reached by http, as other programs have it."""
        self.assertEqual(self.load(HTTPS_PROXY="one:3128").https_proxy, ONE)
        self.assert_fine()

    def test_credentials(self) -> None:
        """Credentials are read, and warned of if they are sent in the clear."""
        found = self.load(ALL_PROXY=f"http://alice:{SECRET}@one")
        self.assertEqual(found.http_proxy.credentials, Credentials("alice", SECRET))
        self.assertNotIn(SECRET, repr(found))
        self.assert_fine(warnings=1)
        self.assertIn("ALL_PROXY: the proxy is reached over http", self.findings.warnings[0])
        self.load(HTTPS_PROXY=f"https://alice:{SECRET}@one")
        self.assert_fine()

    def test_problems(self) -> None:
        """What cannot be used is reported once, with its variable and without its value."""
        for text, reason in (
            (f"socks5://x:{SECRET}@proxy:1080", "SOCKS proxies are not supported"),
            (f"http://x:{SECRET}", "must be http://"),
            (f"x:{SECRET}@y/z", "must be http://"),
        ):
            for name in ("HTTPS_PROXY", "http_proxy", "ALL_PROXY"):
                found = self.load(**{name: text})
                self.assertEqual((found.https_proxy, found.http_proxy), (None, None))
                self.assert_problem(f"{name}: ", reason)
        self.load(HTTPS_PROXY=f"ftp://{SECRET}", HTTP_PROXY=f"ftp://{SECRET}")
        self.assertEqual(len(self.findings.problems), 2)

    def test_what_does_not_count(self) -> None:
        """A variable that yields to another may be nonsense."""
        self.load(
            HTTPS_PROXY="nonsense://",
            https_proxy="http://x",
            HTTP_PROXY="http://y",
            ALL_PROXY="://",
        )
        self.assert_fine()


class Exceptions(_Case):
    """NO_PROXY."""

    def test_read(self) -> None:
        """Items are separated by commas or spaces and keep their order, each but once."""
        for text in (
            "Localhost,.Example.com,10.0.0.0/8,::1,*",
            " localhost  *.example.com, ,10.0.0.0/8\t::1,,LOCALHOST *,\n",
        ):
            self.assertEqual(
                self.load(NO_PROXY=text).no_proxy,
                ("localhost", ".example.com", "10.0.0.0/8", "::1", "*"),
            )
        self.assert_fine()

    def test_lower_case(self) -> None:
        """The variable in lower case wins."""
        self.assertEqual(self.load(NO_PROXY="a", no_proxy="b").no_proxy, ("b",))
        self.assertEqual(self.load(NO_PROXY="a", no_proxy=" ").no_proxy, ("a",))

    def test_odd(self) -> None:
        """What is not understood is a warning, for it may be meant for others."""
        self.assertEqual(self.load(no_proxy="a,10.*,b").no_proxy, ("a", "b"))
        self.assert_fine(warnings=1)
        (warning,) = self.findings.warnings
        self.assertTrue(warning.startswith("no_proxy: ignored: '10.*' is not a host"), warning)
        self.assertIn("ignored: ", warning)


class PrivateAddresses(_Case):
    """--allow-private-upstreams."""

    def test_switch(self) -> None:
        """The flag or the variable turn it on."""
        self.assertFalse(self.load(ALLOW_PRIVATE_UPSTREAMS="no").allow_private)
        self.assertTrue(self.load(ALLOW_PRIVATE_UPSTREAMS="yes").allow_private)
        self.assertTrue(self.load(flag=True, ALLOW_PRIVATE_UPSTREAMS="no").allow_private)
        self.assert_fine()
        self.load(ALLOW_PRIVATE_UPSTREAMS="perhaps")
        self.assert_problem("ALLOW_PRIVATE_UPSTREAMS: must be true or false")

    def test_no_effect(self) -> None:
        """With none but configured registries it is a warning."""
        for given, source in (
            ({"flag": True}, "--allow-private-upstreams"),
            ({"ALLOW_PRIVATE_UPSTREAMS": "1"}, "ALLOW_PRIVATE_UPSTREAMS"),
        ):
            self.load(allow_dynamic=False, **given)
            self.assert_fine(warnings=1)
            self.assertIn(f"{source}: has no effect", self.findings.warnings[0])
        self.load(allow_dynamic=False)
        self.assert_fine()
