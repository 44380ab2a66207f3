"""What token servers are asked and answer, and which servers get no credentials."""

from __future__ import annotations

import base64
import json
from urllib.parse import parse_qs, urlsplit

from twisted.internet.error import ConnectionRefusedError as Refused

from oci_registry.config.settings import Credentials
from oci_registry.spec.challenge import parse_challenges, read_lines
from oci_registry.spec.errors import BadGateway, Denied, TooManyRequests
from tests.support.fake_http import Answer, FakeHttp, FakeResponse, Sent

from .token_case import PAT, REALM, SCOPE, URL, TokenTestCase, challenge, given


class Asked(TokenTestCase):
    """What the token server is asked."""

    def test_anonymous(self) -> None:
        """Without credentials the server gets none, wherever it is."""
        self.token(self.source(), challenge("https://elsewhere.example.net/t?a=b"))
        sent = self.http.sent[0]
        self.assertEqual("GET", sent.method)
        self.assertNotIn("Authorization", sent.headers)
        self.assertEqual(
            {"a": ["b"], "service": ["registry"], "scope": [SCOPE]},
            parse_qs(urlsplit(sent.url).query),
        )

    def test_with_credentials(self) -> None:
        """Credentials go as Basic, in UTF-8, not into the URL."""
        self.token(self.source(Credentials("pät", "p:w")))
        sent = self.http.sent[0]
        expected = base64.b64encode("pät:p:w".encode()).decode()
        self.assertEqual(f"Basic {expected}", sent.headers["Authorization"])
        self.assertNotIn("p%3Aw", sent.url)

    def test_post_where_get_is_not_offered(self) -> None:
        """A server that wants OAuth2's POST gets the same request as a form."""
        for code in (405, 501):
            self.http = FakeHttp(
                lambda sent, code=code: (  # type: ignore[misc]
                    FakeResponse(code) if sent.method == "GET" else given(access_token="a")
                )
            )
            self.assertEqual("a", self.token(self.source(PAT)))
            sent = self.http.sent[1]
            assert sent.data is not None
            self.assertEqual((REALM, "POST"), (sent.url, sent.method))
            form = parse_qs(sent.data.decode())
            self.assertEqual(["password"], form["grant_type"])
            self.assertEqual((["pat"], ["s3cret"]), (form["username"], form["password"]))
            self.assertEqual((["registry"], [SCOPE]), (form["service"], form["scope"]))
            self.assertNotIn("Authorization", sent.headers)

    def test_no_post_without_credentials(self) -> None:
        """An anonymous client has nothing to post."""
        self.error(FakeResponse(405), BadGateway, None)
        self.assertEqual(["GET"], [sent.method for sent in self.http.sent])

    def test_identity_token(self) -> None:
        """The user ``<token>`` has a refresh token, which is posted at once."""
        self.token(self.source(Credentials("<token>", "refresh me")))
        (sent,) = self.http.sent
        assert sent.data is not None
        form = parse_qs(sent.data.decode())
        self.assertEqual("POST", sent.method)
        self.assertEqual(["refresh_token"], form["grant_type"])
        self.assertEqual(["refresh me"], form["refresh_token"])

    def test_not_to_strangers(self) -> None:
        """Credentials are not sent to another domain, nor from https to http; nothing is."""
        for credentials in (PAT, Credentials("<token>", PAT.password)):
            for realm in ("https://evil.example.net/t", "http://auth.example.com/t"):
                error = self.error(given(token="t"), Denied, credentials, challenge(realm))
                self.assertIn(urlsplit(realm).hostname or "", error.message)
                self.assertEqual([], self.http.sent)

    def test_what_to_write(self) -> None:
        """The error for a stranger names the key that allows it, and the server as it wants it."""
        for realm, server in (
            ("https://Evil.example.net/t", "evil.example.net"),
            ("https://evil.example.net:8443/t", "evil.example.net:8443"),
        ):
            error = self.error(given(token="t"), Denied, PAT, challenge(realm))
            self.assertIn("token_servers", error.message)
            self.assertIn(f"{server},", error.message)
            allowed = self.source(PAT, token_servers=(server,))
            self.assertEqual("t", self.token(allowed, challenge(realm)))
        plain = self.error(given(token="t"), Denied, PAT, challenge("http://auth.example.com/t"))
        self.assertNotIn("token_servers", plain.message)

    def test_queries(self) -> None:
        """A realm keeps its query, and an empty one adds nothing to it."""
        for realm, expected in (
            (f"{REALM}?", f"{REALM}?service=registry&scope="),
            (f"{REALM}?a=b", f"{REALM}?a=b&service=registry&scope="),
            (f"{REALM}?a=b#c", f"{REALM}?a=b&service=registry&scope="),
            ("https://auth.example.com", "https://auth.example.com?service=registry&scope="),
        ):
            self.http.sent.clear()
            self.token(self.source(), challenge(realm))
            self.assertTrue(self.http.sent[0].url.startswith(expected), self.http.sent[0].url)

    def test_service_byte_by_byte(self) -> None:
        """A service that is no UTF-8 is repeated as it came."""
        (line,) = read_lines([b'Bearer realm="https://auth.example.com/t",service="\xfc \xc3\xbc"'])
        self.token(self.source(), parse_challenges([line])[0])
        self.assertIn("service=%FC+%C3%BC&", self.http.sent[0].url)

    def test_scopes_in_a_form(self) -> None:
        """In a form the scopes are one parameter, as OAuth2 has it."""
        other = "repository:base/os:pull"
        self.token(self.source(Credentials("<token>", "r")), challenge(scope=other))
        data = self.http.sent[0].data
        assert data is not None
        self.assertEqual([f"{SCOPE} {other}"], parse_qs(data.decode())["scope"])


class Redirected(TokenTestCase):
    """A token server that sends us on."""

    def route(self, *redirects: tuple[int, str]) -> None:
        """Answer the first requests with these, the next with a token."""
        left = list(redirects)

        def answer(_: Sent) -> Answer:
            if not left:
                return given(token="t")
            code, location = left.pop(0)
            return FakeResponse(code, headers={"Location": location} if location else {})

        self.http = FakeHttp(answer)

    def urls(self) -> list[str]:
        return [sent.url for sent in self.http.sent[1:]]

    def test_followed(self) -> None:
        """It is followed, up to five times, relative or not."""
        for code in (301, 302, 303, 307, 308):
            self.route((code, "/token/?x"), (code, "https://other.example.com/#f"))
            self.assertEqual("t", self.token(self.source()))
            expected = ["https://auth.example.com/token/?x", "https://other.example.com/"]
            self.assertEqual(expected, self.urls())
        self.route(*[(307, "/again")] * 5)
        self.assertEqual("t", self.token(self.source()))
        self.route(*[(307, "/again")] * 6)
        self.failureResultOf(self.begin(self.source()), BadGateway)
        self.assertEqual(6, len(self.http.sent))

    def test_with_credentials(self) -> None:
        """Credentials are passed on to a server that may see them, also from http to https."""
        for realm, location in (
            (REALM, "/token/"),
            (REALM, "https://other.example.com/t"),
            ("http://auth.example.com/t", "https://auth.example.com/t"),
            ("http://auth.example.com/t", "http://auth.example.com/t/"),
        ):
            self.route((301, location))
            url = realm.partition("://")[0] + "://registry.example.com"
            self.assertEqual("t", self.token(self.source(PAT, url), challenge(realm)))
            authorizations = {sent.headers.get("Authorization") for sent in self.http.sent}
            self.assertEqual(1, len(authorizations))
            self.assertNotIn(None, authorizations)

    def test_credentials_to_a_stranger(self) -> None:
        """To another server they do not, and it is not asked without them, unless it is allowed."""
        self.route((307, "https://auth.example.net/t"))
        source = self.source(PAT)
        failure = self.failureResultOf(self.begin(source), Denied)
        self.assertIn("auth.example.net", failure.getErrorMessage())
        self.assertIn("token_servers", failure.getErrorMessage())
        self.assertEqual(1, len(self.http.sent))
        self.route((307, "https://auth.example.net/t"))
        self.assertEqual("t", self.token(self.source(PAT, token_servers=("auth.example.net",))))

    def test_anonymous_to_a_stranger(self) -> None:
        """A request without credentials may be sent anywhere; a user in the address is left out."""
        self.route((302, "https://u:p@auth.example.net/t"))
        self.assertEqual("t", self.token(self.source()))
        self.assertEqual(["https://auth.example.net/t"], self.urls())

    def test_not_to_http(self) -> None:
        """Nobody is led from https to http, allowed or not, whatever the registry itself speaks."""
        for credentials in (None, PAT):
            for url in (URL, "http://registry.example.com"):
                self.route((307, "http://auth.example.com/t"))
                source = self.source(credentials, url, ("auth.example.com",))
                self.failureResultOf(self.begin(source), BadGateway)
                self.assertEqual(1, len(self.http.sent))

    def test_nowhere(self) -> None:
        """A redirect that leads nowhere is an error."""
        for location in ("", "ftp://auth.example.com/", "https://[", "https://a:0/"):
            self.route((302, location))
            self.failureResultOf(self.begin(self.source()), BadGateway)

    def test_posted(self) -> None:
        """A form is sent again after 307 and 308; after others there is a GET without it."""
        for code, methods in (
            (307, ["POST", "POST"]),
            (308, ["POST", "POST"]),
            (301, ["POST", "GET"]),
        ):
            self.route((code, "/token/"))
            self.assertEqual("t", self.token(self.source(Credentials("<token>", "r"))))
            self.assertEqual(methods, [sent.method for sent in self.http.sent])
            last = self.http.sent[-1]
            self.assertEqual("POST" in methods[1:], last.data is not None)
            self.assertEqual("POST" in methods[1:], "Content-Type" in last.headers)


class BadAnswers(TokenTestCase):
    """Token servers in trouble."""

    def test_statuses(self) -> None:
        """What the server answers becomes an error that names the upstream."""
        for code, kind in (
            (400, Denied),
            (401, Denied),
            (403, Denied),
            (404, Denied),
            (302, BadGateway),
            (304, BadGateway),
            (500, BadGateway),
            (503, BadGateway),
            (204, BadGateway),
        ):
            self.assertIn(str(code), self.error(FakeResponse(code, b"why"), kind).message)

    def test_limited(self) -> None:
        """A server that limits says for how long."""
        for status in (429, 503):
            answer = FakeResponse(status, headers={"Retry-After": "12"})
            error = self.error(answer, TooManyRequests)
            self.assertEqual("12", error.headers["Retry-After"])

    def test_limited_for_a_while(self) -> None:
        """Until that time is over it is not asked for the same token, but for others."""
        source = self.source()
        self.http.answer = lambda _: FakeResponse(429, headers={"Retry-After": "60"})
        self.failureResultOf(self.begin(source), TooManyRequests)
        self.http.answer = self.good
        self.clock.advance(20)
        failure = self.failureResultOf(self.begin(source), TooManyRequests)
        self.assertEqual("40", failure.value.headers["Retry-After"])
        self.assertEqual(1, len(self.http.sent))
        other = "repository:other:pull"
        self.assertEqual("t1", self.token(source, challenge(scope=other), other))
        self.clock.advance(41)
        self.assertEqual("t2", self.token(source))

    def test_garbage(self) -> None:
        """What is not a token is not used as one."""
        for body in (
            b"",
            b"{",
            b"[]",
            b"null",
            b'"t"',
            b"{}",
            b'{"token": ""}',
            b'{"token": 1}',
            b'{"token": ["t"]}',
            b'{"token": "a b"}',
            b'{"token": "a\\r\\nX: y"}',
            b'{"token": "\xc3\xa9"}',
            b'{"token": "\xff"}',
            b"\xff\xfe",
            b"[" * 100_000,
            json.dumps({"token": "x" * 70_000}).encode(),
        ):
            self.error(FakeResponse(body=body), BadGateway)

    def test_huge(self) -> None:
        """A huge answer is not read, whether or not it says how long it is."""
        for sized in (True, False):
            self.error(FakeResponse(body=bytes(300_000), sized=sized), BadGateway)

    def test_unreachable(self) -> None:
        """A server that cannot be reached is named beside the upstream."""
        error = self.error(Refused(), BadGateway)
        self.assertIn("auth.example.com", error.message)
        self.assertIn("refused", error.message)
