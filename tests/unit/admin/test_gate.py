"""Who may use the API."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from twisted.web.http_headers import Headers

from oci_registry.admin.gate import Gate, LocalGate, TokenGate
from oci_registry.admin.problems import Forbidden, TokenRequired
from oci_registry.admin.token import AdminToken

TOKEN = "0123456789abcdef-secret"


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
