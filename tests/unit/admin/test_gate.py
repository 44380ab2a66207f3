"""Who may use the API."""

from __future__ import annotations

from base64 import b64encode

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers

from oci_registry.admin.gate import Gate, LocalGate, TokenGate
from oci_registry.admin.problems import Forbidden, TokenRequired
from oci_registry.admin.token import AdminToken

TOKEN = "0123456789abcdef-secret"


def encoded(text: str) -> str:
    """Return a user and a password as Basic has them."""
    return b64encode(text.encode()).decode()


def headers(**fields: str) -> Headers:
    """Return headers with underscores in place of dashes."""
    return Headers({name.replace("_", "-"): [value] for name, value in fields.items()})


class Tokens(SynchronousTestCase):
    """A listener where the token is needed."""

    def setUp(self) -> None:
        self.token = AdminToken(TOKEN)
        self.gate = TokenGate(self.token)

    def test_accepted(self) -> None:
        """The token is accepted, however the scheme is written."""
        for scheme in ("Bearer", "bearer", "BEARER  "):
            self.gate.check(headers(authorization=f"{scheme} {TOKEN}"))

    def test_refused(self) -> None:
        """Anything else gets a 401 that says what to send and nothing of the token."""
        wrong = (TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "", f"{TOKEN} x")
        texts = [*(f"Bearer {each}" for each in wrong), TOKEN, f"Basic {TOKEN}", f"Bearer{TOKEN}"]
        for text in texts:
            error = self.assertRaises(TokenRequired, self.gate.check, headers(authorization=text))
            self.assertIn("Bearer", error.headers["WWW-Authenticate"])
            self.assertNotIn(TOKEN, str(error))
        twice = Headers({"authorization": [f"Bearer {TOKEN}"] * 2})
        self.assertRaises(TokenRequired, self.gate.check, twice)
        self.assertRaises(TokenRequired, self.gate.check, Headers())

    def test_password(self) -> None:
        """The token is accepted as a password too, which is how browsers send it."""
        for user in ("", "admin", "a b"):
            for scheme in ("Basic", "basic ", "BASIC"):
                self.gate.check(headers(authorization=f"{scheme} {encoded(f'{user}:{TOKEN}')}"))
        for text in (
            f"admin:{TOKEN}x",
            f"admin:x{TOKEN}",
            f"{TOKEN}:admin",
            TOKEN,
            f":{TOKEN}:",
            ":",
        ):
            sent = headers(authorization=f"Basic {encoded(text)}")
            error = self.assertRaises(TokenRequired, self.gate.check, sent)
            # A browser must not ask for a password because of a request to the API.
            self.assertEqual('Bearer realm="oci-registry admin"', error.headers["WWW-Authenticate"])
        whole = encoded(f"a:{TOKEN}")
        for text in (
            whole[:-1],
            whole + "=",
            "*" + whole,
            whole.replace("=", " ") + "x",
            "",
            "====",
        ):
            sent = headers(authorization=f"Basic {text}")
            self.assertRaises(TokenRequired, self.gate.check, sent)

    @given(st.binary(max_size=40))
    def test_anything(self, sent: bytes) -> None:
        """Whatever else is sent is refused."""
        for scheme in (b"Basic ", b"Bearer ", b""):
            found = Headers({b"authorization": [scheme + sent]})
            self.assertRaises(TokenRequired, self.gate.check, found)

    def test_replaced(self) -> None:
        """After another token was read, only that is accepted."""
        self.token.replace("another-token-of-some-length")
        self.gate.check(headers(authorization="Bearer another-token-of-some-length"))
        bad = headers(authorization=f"Bearer {TOKEN}")
        self.assertRaises(TokenRequired, self.gate.check, bad)

    def test_none(self) -> None:
        """Without a token nobody is admitted, whatever is sent."""
        gate = TokenGate(None)
        for text in ("Bearer ", "Bearer x", ""):
            error = self.assertRaises(Forbidden, gate.check, headers(authorization=text))
            self.assertIn("--admin-token-file", str(error))

    def test_not_shown(self) -> None:
        """The token cannot be read back from what is kept of it."""
        self.assertNotIn(TOKEN, repr(vars(self.token)))


class Origins(SynchronousTestCase):
    """Pages of other sites, in a browser that can reach the listener."""

    def test_same_site(self) -> None:
        """Programs, and pages of this listener, are admitted."""
        for fields in (
            {},
            {"origin": "http://mirror:8081"},
            {"origin": "https://MIRROR:8081"},
            {"sec_fetch_site": "same-origin"},
            {"sec_fetch_site": "none"},
        ):
            LocalGate().check(headers(host="mirror:8081", **fields))

    def test_other_sites(self) -> None:
        """Pages of other sites are refused, on every listener, with the token too."""
        gates: list[Gate] = [LocalGate(), TokenGate(AdminToken(TOKEN))]
        for fields in (
            {"origin": "http://evil.example"},
            {"origin": "http://mirror"},
            {"origin": "null"},
            {"origin": "file://"},
            {"sec_fetch_site": "cross-site"},
            {"sec_fetch_site": "same-site"},
        ):
            for gate in gates:
                sent = headers(host="mirror:8081", authorization=f"Bearer {TOKEN}", **fields)
                self.assertRaises(Forbidden, gate.check, sent)
