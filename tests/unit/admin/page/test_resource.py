"""The paths of the status page: who may have them, and what they answer."""

from __future__ import annotations

from base64 import b64encode
from urllib.parse import quote, urljoin

from attrs import evolve
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from oci_registry.admin.gate import TokenGate
from oci_registry.admin.page.assets import ASSETS
from oci_registry.admin.page.overview import Overview
from oci_registry.admin.token import AdminToken
from oci_registry.management.answers import ImagePage
from oci_registry.management.problems import InvalidName, NotReady, NotStored
from tests.support.html import faults, read_html
from tests.unit.admin.page.support import IMAGE, PageTestCase

TOKEN = "0123456789abcdef-secret"
BASIC = "Basic " + b64encode(f"anyone:{TOKEN}".encode()).decode()
PAGES = ("/", "/page/image?image=app", "/page/remove?image=app")


class Paths(PageTestCase):
    """A listener that admits everyone."""

    def test_pages(self) -> None:
        """Each page is well-formed, names all controls, and refers to everything relatively."""
        for path in PAGES:
            self.get(path)
            answer = self.ask(path, "HEAD").answer("HEAD")
            self.assertEqual((200, b""), (answer.status, answer.body))

    def test_files(self) -> None:
        """Files are kept by browsers while their address stays the same, and all is lighter than 100 kB."""
        weight = len(self.ask("/").answer().body)
        document = self.get()
        linked = [each.attributes["href"] for each in document.all("link")]
        linked += [each.attributes["src"] for each in document.all("script")]
        self.assertEqual(len(ASSETS), len(linked))
        for address in linked:
            answer = self.ask(f"/{address}").answer()
            self.assertEqual(200, answer.status)
            self.assertIn("immutable", answer.headers["cache-control"])
            weight += len(answer.body)
        self.assertLess(weight, 100_000)
        self.assertEqual("no-store", self.ask("/page/style.css").answer().headers["cache-control"])
        self.assertEqual(405, self.ask("/page/style.css", "POST").answer().status)

    def test_nothing(self) -> None:
        """There is a page for paths at which there is nothing."""
        for path in ("/page", "/page/", "/page/x", "/page/image/x", "/page/../page/x"):
            answer = self.ask(path).answer()
            self.assertEqual(404, answer.status, path)
            self.checked(answer)

    def test_needless_slashes(self) -> None:
        """A page with needless slashes leads to the page itself, below any prefix; nothing else does."""
        for path, place in (
            ("/page/image/?image=app", "../../page/image?image=app"),
            ("/page//image?image=app", "../../page/image?image=app"),
            ("//page/image", "../../page/image"),
            ("//?search=x", "../?search=x"),
            ("/page/style.css/", "../../page/style.css"),
        ):
            answer = self.ask(path).answer()
            self.assertEqual((307, place), (answer.status, answer.headers["location"]), path)
        below = urljoin("http://mirror/prefix/page/image/", "../../page/image")
        self.assertEqual("http://mirror/prefix/page/image", below)
        for path in ("/page/x/", "/page//", "/page/act/"):
            self.assertEqual(404, self.ask(path).answer().status, path)
        sent = {"Origin": "http://mirror"}
        for path in ("/page/act/", "/page/image/"):
            self.assertIn(self.ask(path, "POST", **sent).answer().status, (404, 405), path)

    @given(st.text("/page.imrovct%2é?=&", max_size=20))
    def test_any_path(self, text: str) -> None:
        """No path is an internal error."""
        for start in ("/", "/page/", "/page/image"):
            answer = self.ask(start + quote(text, safe="/?=&%")).answer()
            self.assertLess(answer.status, 500, text)

    def test_methods(self) -> None:
        """Other methods are refused with those that are possible."""
        for path, allowed in (*((each, "GET, HEAD") for each in PAGES), ("/page/act", "POST")):
            method = "GET" if allowed == "POST" else "POST"
            answer = self.ask(path, method, Origin="http://mirror").answer()
            self.assertEqual((405, allowed), (answer.status, answer.headers["allow"]))
            self.checked(answer)

    def test_parts(self) -> None:
        """The script gets the parts that it asks for, and nothing else."""
        answer = self.ask("/page/parts?part=errors&part=transfers").answer()
        sections = read_html(answer.body).all("section")
        self.assertEqual(["transfers", "errors"], [each.attributes["id"] for each in sections])
        self.assertEqual({"/top", "/errors"}, {path for _, path, _ in self.asked})
        self.assertEqual(400, self.ask("/page/parts?part=nothing").answer().status)

    def test_bad_query(self) -> None:
        """A query that cannot be is refused with a page that says why."""
        for query in ("period=year", "order=x", "other=1", "done=x", "search=%00"):
            answer = self.ask(f"/?{query}").answer()
            self.assertEqual(400, answer.status, query)
            self.assertIn("query parameter", self.checked(answer).text)

    def test_defect(self) -> None:
        """A defect is logged, and not shown."""
        self.patch(Overview, "page", lambda *_: 1 / 0)
        answer = self.ask("/").answer()
        self.assertEqual(500, answer.status)
        self.assertNotIn(b"division", answer.body)
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))


class Images(PageTestCase):
    """The page of an image."""

    def test_unknown(self) -> None:
        """An image that is not stored is a 404 that says so."""
        self.answers |= {
            ("GET", "/image"): NotStored("app is not stored"),
            ("GET", "/history"): NotStored("app was never pulled"),
        }
        answer = self.ask("/page/image?image=app").answer()
        self.assertEqual(404, answer.status)
        self.assertIn("app is not stored", self.checked(answer).text)

    def test_no_name(self) -> None:
        """What is no name of an image is a 400."""
        for key in ("/image", "/why", "/history"):
            self.answers["GET", key] = InvalidName("'%' is not a name")
        answer = self.ask("/page/image?image=%25").answer()
        self.assertEqual(400, answer.status)
        self.assertIn("is not a name", self.checked(answer).text)
        self.assertEqual(400, self.ask("/page/image").answer().status)

    def test_not_in_time(self) -> None:
        """What is not known in time is left out, and the rest is shown."""
        self.answers["GET", "/image"] = Deferred()
        connection = self.ask("/page/image?image=app")
        self.clock.advance(2)
        text = self.checked(connection.answer()).text
        self.assertIn("Not available: there was no answer within 1.5 s", text)
        self.assertIn("It is.", text)


class Access(PageTestCase):
    """A listener where the token is needed."""

    def setUp(self) -> None:
        super().setUp()
        self.serve_page(TokenGate(AdminToken(TOKEN)))

    def test_token(self) -> None:
        """The token is the password of any user, or that of Bearer; files need none."""
        for path in PAGES:
            self.get(path, Authorization=BASIC)
            self.get(path, Authorization=f"Bearer {TOKEN}")
            for sent in ({}, {"Authorization": BASIC[:-4]}, {"Authorization": "Bearer x"}):
                answer = self.ask(path, **sent).answer()
                self.assertEqual(401, answer.status)
                self.assertTrue(answer.headers["www-authenticate"].startswith("Basic realm="))
                self.assertIn("--admin-token-file", self.checked(answer).text)
                self.assertNotIn(TOKEN.encode(), answer.body)
        self.assertEqual(200, self.ask("/page/style.css").answer().status)

    def test_without_token(self) -> None:
        """Without a token the page says what to set."""
        self.serve_page(TokenGate(None))
        for path in PAGES:
            answer = self.ask(path, Authorization=BASIC).answer()
            self.assertEqual(403, answer.status)
            self.assertNotIn("www-authenticate", answer.headers)
            self.assertIn("start the daemon with --admin-token-file", self.checked(answer).text)

    def test_links(self) -> None:
        """A link from another site leads to the page; nothing else of another site gets it."""
        link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
        self.get(Authorization=BASIC, **link, **{"Sec-Fetch-Dest": "document"})
        for place in ("iframe", "empty", "script"):
            sent = {**link, "Sec-Fetch-Dest": place, "Authorization": BASIC}
            self.assertEqual(403, self.ask("/", **sent).answer().status)
        sent = {"Authorization": BASIC, "Origin": "http://evil.example"}
        self.assertEqual(403, self.ask("/", **sent).answer().status)

    def test_refused_forms(self) -> None:
        """A form of another site, or of nobody knows where, does nothing, whatever token is sent."""
        form = {"Content-Type": "application/x-www-form-urlencoded", "Authorization": BASIC}
        for sent, expected in (
            ({"Origin": "http://mirror"}, 303),
            ({"Sec-Fetch-Site": "same-origin"}, 303),
            ({}, 403),
            ({"Origin": "null"}, 403),
            ({"Origin": "http://evil.example"}, 403),
            ({"Origin": "http://mirror:81"}, 403),
            ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate",
              "Sec-Fetch-Dest": "document"}, 403),
            ({"Origin": "http://mirror", "Sec-Fetch-Site": "same-site"}, 403),
        ):  # fmt: skip
            self.asked.clear()
            answer = self.send_form(b"action=pin&image=app", {**form, **sent})
            self.assertEqual((expected, expected == 303), (answer.status, bool(self.asked)), sent)
            if expected == 403:
                self.assertIn("Host", self.checked(answer).text)


class Hostile(PageTestCase):
    """Names and texts from elsewhere."""

    def test_escaped(self) -> None:
        """Whatever is in them, they are text."""
        evil = "<script>alert(1)</script>\"'>\u202e\ud800\x00</td>"
        self.answers["GET", "/images"] = ImagePage(
            (evolve(IMAGE, name=evil, platforms=(evil,)),), evil, True
        )
        for key in ("/status", "/top", "/upstreams", "/disk", "/activity", "/images/top"):
            self.answers["GET", key] = NotReady(evil)
        document = self.get("/?search=%3Cscript%3E%22'&period=day")
        self.assertEqual(1, len(document.all("script")))
        self.assertIn("<script>alert(1)</script>", document.text)
        self.assertNotIn("\u202e", document.text)
        self.assertEqual("<script>\"'", document.one("input", name="search").attributes["value"])
        self.answers["GET", "/image"] = NotStored(evil)
        for path in PAGES[1:]:
            answer = self.ask(f"{path}%3Cscript%3E").answer()
            self.assertEqual([], faults(read_html(answer.body)))
            self.assertEqual([], read_html(answer.body).all("script"))
