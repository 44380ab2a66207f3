"""Tags that upstream does not confirm: served stale, passed on as an error, forgotten."""

from __future__ import annotations

from oci_registry.pullthrough.manifests import REVALIDATION_TIMEOUT
from oci_registry.pullthrough.served import StaleReason
from oci_registry.spec.errors import (
    BadGateway,
    Denied,
    GatewayTimeout,
    ManifestUnknown,
    NameUnknown,
    RegistryError,
    TooManyRequests,
    Unavailable,
)
from oci_registry.spec.reference import Tag
from oci_registry.storage.keys import manifest_key, tag_key
from oci_registry.upstream.errors import WrongAnswer
from tests.unit.pullthrough.manifest_case import HOUR, ManifestTestCase, raw

WEEK = 7 * 86400.0


class StaleTestCase(ManifestTestCase):
    """The tag was fetched, and its time is over."""

    def setUp(self) -> None:
        super().setUp()
        self.get()
        self.clock.advance(HOUR)
        self.asked()

    def stale(self, reason: StaleReason = StaleReason.UNREACHABLE) -> float:
        """The old manifest is served with a reason; return its age."""
        served = self.get()
        self.assertEqual((self.one.raw, True), (served.manifest.raw, served.cached))
        self.assertIs(reason, served.stale_reason)
        assert served.age is not None
        return served.age

    def confirmed(self) -> None:
        """Upstream works again, and its answers are used."""
        self.upstream.error = None
        served = self.get()
        self.assertEqual((None, None), (served.age, served.stale_reason))


class Unreachable(StaleTestCase):
    """Upstream cannot be asked."""

    def test_stale(self) -> None:
        """While upstream fails, what is known is served, and its age told."""
        self.clock.advance(60)
        for error in (BadGateway("x"), GatewayTimeout("x"), TooManyRequests("x")):
            self.upstream.error = error
            self.assertEqual(HOUR + 60, self.stale())
        self.confirmed()

    def test_asked_once(self) -> None:
        """That a stale tag could be served does not delay the requests to upstream, after HEAD or instead."""
        self.upstream.add(raw("two"), "latest")
        self.upstream.get_error = BadGateway("x")
        self.stale()
        self.upstream.says_digest = False
        self.stale()
        self.assertEqual(["HEAD", "GET once"] * 2, self.asked())

    def test_change_that_cannot_be_fetched(self) -> None:
        """If HEAD tells of a change and GET fails, the old manifest is served until GET succeeds."""
        two = self.upstream.add(raw("two"), "latest")
        self.upstream.get_error = BadGateway("x")
        self.assertEqual(HOUR, self.stale())
        self.upstream.get_error = None
        self.assertEqual(two, self.get().manifest)

    def test_after_a_restart(self) -> None:
        """A restart while upstream is down changes nothing."""
        self.restart()
        self.upstream.error = BadGateway("down")
        self.assertEqual(HOUR, self.stale())

    def test_too_old(self) -> None:
        """At the end of its time a tag is not served stale any more."""
        self.upstream.error = BadGateway("down")
        self.clock.advance(WEEK - 1)
        self.stale()
        self.clock.advance(1)
        self.refused(BadGateway)
        self.confirmed()

    def test_off(self) -> None:
        """With a time of nothing no tag is served stale, whatever the clock says."""
        self.upstream.change(stale_if_error=0.0)
        self.upstream.error = BadGateway("down")
        self.refused(BadGateway)
        self.clock.rightNow -= 10 * HOUR
        self.refused(BadGateway)
        self.confirmed()

    def test_patient_without_anything_to_serve(self) -> None:
        """If nothing may be served stale, GET is tried with patience even where HEAD has failed."""
        self.upstream.change(stale_if_error=0.0)
        self.upstream.error = BadGateway("x")
        self.refused(BadGateway)
        self.assertEqual(["HEAD", "GET"], self.asked())

    def test_patient_after_a_change(self) -> None:
        """It is tried with patience after a HEAD that tells of a change, too."""
        self.upstream.change(stale_if_error=0.0)
        two = self.upstream.add(raw("two"), "latest")
        self.assertEqual(two, self.get().manifest)
        self.assertEqual(["HEAD", "GET"], self.asked())

    def test_cold(self) -> None:
        """What is not known cannot be served: upstream is asked with patience, and its error passed on."""
        self.upstream.error = GatewayTimeout("down")
        self.refused(GatewayTimeout, Tag("other"))
        self.assertEqual(["GET"], self.asked())

    def test_digest(self) -> None:
        """A digest that is stored is served as fresh, and one that is not is asked for."""
        child = self.upstream.add(raw("child"))
        self.upstream.error = BadGateway("down")
        served = self.get(self.one.digest)
        self.assertEqual((None, None), (served.age, served.stale_reason))
        self.restart()
        self.assertEqual(self.one.raw, self.get(self.one.digest).manifest.raw)
        self.assertEqual([], self.asked())
        self.refused(BadGateway, child.digest)
        self.assertEqual(["GET"], self.asked())

    def test_clock_set_back(self) -> None:
        """A tag confirmed in the future is not fresh, but may be served stale; its age is nothing."""
        self.clock.rightNow -= 100 * HOUR
        self.upstream.error = BadGateway("down")
        self.assertEqual(0.0, self.stale())
        self.assertEqual(["HEAD", "GET once"], self.asked())

    def test_fresh_for_longer(self) -> None:
        """An upstream that stretches the time of its tags stretches that of stale ones."""
        self.upstream.error = BadGateway("down")
        self.upstream.change(manifest_invalidation_time=2 * HOUR)
        self.assertIsNone(self.get().age)
        self.clock.advance(WEEK + HOUR - 1)
        self.stale()
        self.clock.advance(1)
        self.refused(BadGateway)

    def test_head_that_fails(self) -> None:
        """Whatever HEAD is answered, it is GET that says whether there is a tag, and for whom."""
        for error in (
            BadGateway("500"),
            WrongAnswer("400"),
            Unavailable("503"),
            ManifestUnknown("404"),
            NameUnknown("404"),
            Denied("403"),
        ):
            self.upstream.head_error = error
            self.confirmed()
            self.assertEqual(["HEAD", "GET once"], self.asked())
            self.clock.advance(HOUR)

    def test_head_that_is_limited(self) -> None:
        """A HEAD that is refused because of too many requests, or late, is not followed by a GET."""
        for error in (TooManyRequests("429"), GatewayTimeout("late")):
            self.upstream.head_error = error
            self.stale()
            self.assertEqual(["HEAD"], self.asked())

    def test_slow_head_and_slow_get(self) -> None:
        """HEAD and GET together take no longer than a client waits."""
        self.upstream.add(raw("two"), "latest")
        self.upstream.holding = True
        waiting = self.begin()
        self.clock.advance(REVALIDATION_TIMEOUT - 5)
        self.upstream.release_one()
        self.assertEqual(["HEAD", "GET once"], self.asked())
        self.clock.advance(4)
        self.assertNoResult(waiting)
        self.clock.advance(2)
        self.assertEqual(self.one, self.successResultOf(waiting).manifest)

    def test_slow_head(self) -> None:
        """A HEAD that takes longer than a client waits is given up, however long upstream would."""
        self.upstream.holding = True
        waiting = self.begin()
        self.clock.advance(REVALIDATION_TIMEOUT)
        self.assertIs(StaleReason.UNREACHABLE, self.successResultOf(waiting).stale_reason)
        self.assertEqual(["HEAD"], self.asked())

    def test_counted(self) -> None:
        """A failure is counted for each question, and what is served for each client."""
        self.upstream.holding = True
        waiting = [self.begin() for _ in range(3)]
        self.upstream.error = BadGateway("down")
        self.upstream.release()
        for client in waiting:
            self.successResultOf(client)
        self.assertEqual(1, self.counted("oci_registry_errors_total", kind="stale"))
        served = self.counted("oci_registry_stale_served_total", namespace="example.com")
        self.assertEqual(3, served)
        self.assertEqual(3, self.counted("manifest_cache_hits", namespace="example.com"))


class Lost(StaleTestCase):
    """Upstream cannot be asked, and the store has lost something or fails."""

    def test_lost_manifest(self) -> None:
        """A tag whose manifest is gone cannot be served: upstream is asked with patience."""
        self.driver.delete(manifest_key("example.com", self.one.digest))
        self.restart()
        self.upstream.error = BadGateway("down")
        self.refused(BadGateway)
        self.assertEqual(["GET"], self.asked())

    def test_damaged_manifest(self) -> None:
        """A tag whose manifest is damaged cannot be served: upstream is asked with patience."""
        self.driver.place(manifest_key("example.com", self.one.digest), b"rubbish", sealed=True)
        self.restart()
        self.upstream.error = BadGateway("down")
        self.refused(BadGateway)

    def test_broken_store(self) -> None:
        """A store that fails as well takes nothing away that is in memory."""
        self.driver.broken = "disk on fire"
        self.upstream.error = BadGateway("down")
        self.stale()
        self.restart()
        self.refused(BadGateway)
        self.driver.broken = None
        self.stale()

    def test_lost_manifest_of_a_tag_that_is_gone(self) -> None:
        """If upstream does not know the tag either, it is forgotten."""
        self.driver.delete(manifest_key("example.com", self.one.digest))
        self.restart()
        del self.upstream.manifests["latest"]
        self.refused(ManifestUnknown)
        self.assertEqual(set(), self.stored())


class Refused(StaleTestCase):
    """Upstream says no."""

    def test_gone(self) -> None:
        """A tag that upstream does not have any more is forgotten; its manifest stays."""
        del self.upstream.manifests["latest"]
        self.refused(ManifestUnknown)
        self.assertEqual({manifest_key("example.com", self.one.digest)}, self.stored())
        self.upstream.error = BadGateway("down")
        self.refused(BadGateway)

    def test_repository_gone(self) -> None:
        """A tag whose repository upstream does not have any more is forgotten."""
        self.upstream.error = NameUnknown("no such repository")
        self.refused(NameUnknown)
        self.upstream.error = BadGateway("down")
        self.refused(BadGateway)

    def test_gone_between_head_and_get(self) -> None:
        """A GET that does not find what HEAD has found is trusted."""
        self.upstream.add(raw("two"), "latest")
        self.upstream.get_error = ManifestUnknown("gone")
        self.refused(ManifestUnknown)
        self.assertNotIn(tag_key("example.com", "library/app", "latest"), self.stored())

    def test_denied(self) -> None:
        """A client that is denied a tag does not get the stale one; it is not forgotten."""
        for trusted in (True, False):
            self.upstream.change(trust_not_found=trusted)
            self.upstream.error = Denied("no")
            self.refused(Denied)
            self.upstream.error = BadGateway("down")
            self.stale()

    def test_denied_is_not_fresh_again(self) -> None:
        """A tag that was denied is asked for even if its time turns out to be longer."""
        self.upstream.error = Denied("no")
        self.refused(Denied)
        self.upstream.change(manifest_invalidation_time=100 * HOUR)
        self.refused(Denied)
        self.confirmed()
        self.asked()
        self.get()
        self.assertEqual([], self.asked())


class NotFoundIsNotTrusted(StaleTestCase):
    """An upstream whose 404s are not trusted: it may have lost what it had."""

    def setUp(self) -> None:
        super().setUp()
        self.upstream.change(trust_not_found=False)

    def errors(self) -> tuple[RegistryError, ...]:
        return ManifestUnknown("gone"), NameUnknown("gone")

    def test_stale(self) -> None:
        """A 404 for a known tag is a failure like others: the tag is kept, and served with a reason."""
        for error in self.errors():
            self.upstream.error = error
            self.assertEqual(HOUR, self.stale(StaleReason.UNKNOWN))
        self.assertIn(tag_key("example.com", "library/app", "latest"), self.stored())
        self.confirmed()

    def test_get_not_found(self) -> None:
        """A 404 for a GET after a HEAD that told of a change is a failure like others: the tag is kept."""
        self.upstream.add(raw("two"), "latest")
        self.upstream.get_error = ManifestUnknown("gone")
        self.stale(StaleReason.UNKNOWN)

    def test_then_down(self) -> None:
        """What is said of the tag is what has come of the last question."""
        self.upstream.error = ManifestUnknown("gone")
        self.stale(StaleReason.UNKNOWN)
        self.upstream.error = BadGateway("down")
        self.stale(StaleReason.UNREACHABLE)

    def test_too_old(self) -> None:
        """When nothing may be stale any more the 404 is passed on, and the tag forgotten."""
        self.clock.advance(WEEK)
        self.upstream.error = ManifestUnknown("gone")
        self.refused(ManifestUnknown)
        self.assertNotIn(tag_key("example.com", "library/app", "latest"), self.stored())
        self.assertEqual(["HEAD", "GET"], self.asked())

    def test_cold(self) -> None:
        """A tag that is not known is still a 404."""
        self.refused(ManifestUnknown, Tag("other"))
