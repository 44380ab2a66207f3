"""Tags that are served while upstream is asked, and what becomes of the questions."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.logger import LogEvent, globalLogPublisher

from oci_registry.pullthrough.manifests import MAX_BACKGROUND, REVALIDATION_TIMEOUT
from oci_registry.pullthrough.served import StaleReason
from oci_registry.repeats import INTERVAL
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import BadGateway, Denied, GatewayTimeout, ManifestUnknown
from oci_registry.spec.reference import Tag
from oci_registry.storage.interfaces import StoreError
from oci_registry.storage.keys import manifest_key, tag_key
from oci_registry.upstream.table import Target
from tests.support.fake_upstream import FakeUpstream, fake_settings
from tests.unit.pullthrough.manifest_case import HOUR, ManifestTestCase, raw

MINUTE = 60.0


class BackgroundTestCase(ManifestTestCase):
    """The tag's time is over, but for a minute it may be served while it is asked."""

    def setUp(self) -> None:
        super().setUp()
        self.upstream.change(stale_while_revalidate=MINUTE)
        self.get()
        self.clock.advance(HOUR)
        self.asked()
        self.log: list[str] = []
        globalLogPublisher.addObserver(self.observe)
        self.addCleanup(globalLogPublisher.removeObserver, self.observe)

    def observe(self, event: LogEvent) -> None:
        if event.get("log_namespace", "").startswith("oci_registry"):
            self.log.append(event["log_format"].format_map(event))

    def served_at_once(self, age: float = HOUR) -> None:
        """The old manifest is served, with its age and without a reason."""
        served = self.get()
        self.assertEqual((self.one.raw, True), (served.manifest.raw, served.cached))
        self.assertEqual((age, None), (served.age, served.stale_reason))


class Answered(BackgroundTestCase):
    """Upstream is asked after the client is answered."""

    def test_served_at_once(self) -> None:
        """Clients do not wait for upstream, which is asked once for all of them."""
        self.upstream.holding = True
        for _ in range(5):
            self.served_at_once()
        self.assertEqual(["HEAD"], self.asked())
        self.upstream.release()
        self.assertIsNone(self.get().age)
        self.assertEqual([], self.asked())

    def test_changed(self) -> None:
        """A change is there for those who come later, and costs one GET."""
        self.upstream.holding = True
        two = self.upstream.add(raw("two"), "latest")
        self.served_at_once()
        self.upstream.release()
        self.assertEqual(["HEAD", "GET once"], self.asked())
        served = self.get()
        self.assertEqual((two, None), (served.manifest, served.age))

    def test_after_its_time(self) -> None:
        """After that minute clients wait, for the question that is there if there is one."""
        self.upstream.holding = True
        self.clock.advance(MINUTE - 1)
        self.served_at_once(HOUR + MINUTE - 1)
        self.clock.advance(1)
        waiting = self.begin()
        self.assertNoResult(waiting)
        self.upstream.release()
        self.assertIsNone(self.successResultOf(waiting).age)
        self.assertEqual(["HEAD"], self.asked())

    def test_after_a_restart(self) -> None:
        """A tag that must be read from the store is served at once, too."""
        self.restart()
        self.upstream.holding = True
        self.served_at_once()

    def test_lost_manifest(self) -> None:
        """A tag whose manifest is gone cannot be served at once."""
        self.driver.delete(manifest_key("example.com", self.one.digest))
        self.restart()
        self.assertFalse(self.get().cached)
        self.assertEqual(["GET"], self.asked())

    def test_clock_set_back(self) -> None:
        """A tag from the future is not served before it is asked."""
        self.clock.rightNow -= 2 * HOUR
        self.upstream.holding = True
        waiting = self.begin()
        self.assertNoResult(waiting)
        self.upstream.release()
        self.successResultOf(waiting)

    def test_always_asked(self) -> None:
        """With no time of its own, a tag is asked after each answer."""
        self.upstream.change(manifest_invalidation_time=0.0)
        self.upstream.change(stale_while_revalidate=2 * HOUR)
        for age in (HOUR, 0.0, 0.0):
            self.served_at_once(age)
        self.assertEqual(["HEAD"] * 3, self.asked())

    def test_counted(self) -> None:
        """What is served at once is a hit, and nothing that went wrong."""
        self.served_at_once()
        self.assertEqual(1, self.counted("manifest_cache_hits", namespace="example.com"))
        self.assertEqual(0, self.counted("oci_registry_errors_total", kind="stale"))
        stale = self.counted("oci_registry_stale_served_total", namespace="example.com")
        self.assertEqual(0, stale)


class Failed(BackgroundTestCase):
    """What upstream says in the background is as good as what it says to somebody who waits."""

    def test_down(self) -> None:
        """A failure is logged, then counted, and the tag served at once while it may be."""
        self.upstream.error = BadGateway("it is down")
        said = "example.com/library/app:latest is served stale: it is down"
        for failures in (1, 2):
            self.served_at_once()
            self.assertEqual([said], self.log)
            self.assertEqual(failures, self.counted("oci_registry_errors_total", kind="stale"))
        self.reporting.advance(INTERVAL)
        self.assertEqual([f"{said} (1 more in the last minute)"], self.log[1:])
        self.clock.advance(MINUTE)
        self.assertIs(StaleReason.UNREACHABLE, self.get().stale_reason)

    def test_down_and_nothing_may_be_stale(self) -> None:
        """Where errors are not covered up, a failure is logged and met by who comes after the minute."""
        self.upstream.change(stale_if_error=0.0)
        self.upstream.error = BadGateway("it is down")
        self.served_at_once()
        said = "example.com/library/app:latest could not be revalidated: it is down"
        self.assertEqual([said], self.log)
        self.assertEqual(["HEAD", "GET"], self.asked())
        self.served_at_once()
        self.clock.advance(MINUTE)
        self.refused(BadGateway)

    def test_logged_once(self) -> None:
        """A failure is logged once, however many clients were served meanwhile."""
        self.upstream.change(stale_if_error=0.0)
        self.upstream.holding = True
        for _ in range(5):
            self.served_at_once()
        self.upstream.error = BadGateway("it is down")
        self.upstream.release()
        self.assertEqual(1, len(self.log))

    def test_gone(self) -> None:
        """A tag that turns out not to exist is forgotten."""
        del self.upstream.manifests["latest"]
        self.served_at_once()
        self.assertNotIn(tag_key("example.com", "library/app", "latest"), self.stored())
        self.assertEqual(1, len(self.log))
        self.refused(ManifestUnknown)

    def test_gone_and_the_store_cannot_be_written(self) -> None:
        """That holds, too, if its record cannot be removed."""
        self.patch(self.driver, "delete", lambda key: fail(StoreError("disk on fire")))
        del self.upstream.manifests["latest"]
        self.served_at_once()
        self.refused(ManifestUnknown)

    def test_denied(self) -> None:
        """A tag that turns out to be denied is not served at once again before it is confirmed."""
        self.upstream.error = Denied("no")
        self.served_at_once()
        for _ in range(2):
            self.refused(Denied)
        self.upstream.error = None
        self.assertIsNone(self.get().age)
        self.clock.advance(HOUR)
        self.served_at_once()

    def test_not_found_is_not_trusted(self) -> None:
        """Where a 404 ends nothing, the tag is served at once for its minute, and with a reason after."""
        self.upstream.change(trust_not_found=False)
        self.upstream.error = ManifestUnknown("gone")
        self.served_at_once()
        self.served_at_once()
        self.clock.advance(MINUTE)
        self.assertIs(StaleReason.UNKNOWN, self.get().stale_reason)

    def test_slow(self) -> None:
        """A question that takes too long is given up, though nobody waits; the next client asks again."""
        self.upstream.holding = True
        self.served_at_once()
        self.clock.advance(REVALIDATION_TIMEOUT)
        self.served_at_once(HOUR + REVALIDATION_TIMEOUT)
        self.assertEqual(["HEAD", "HEAD"], self.asked())

    def test_crash(self) -> None:
        """A defect of ours in the background is logged, and the next client asks again."""
        self.upstream.error = ZeroDivisionError("oops")
        self.served_at_once()
        self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))
        self.upstream.error = None
        self.served_at_once()
        self.assertIsNone(self.get().age)


class Bounded(BackgroundTestCase):
    """Only so many questions are asked at once that nobody waits for."""

    def test_bounded(self) -> None:
        """Beyond the bound clients are served at once nevertheless, and their tags asked another time."""
        tags = [Tag(f"t{n}") for n in range(MAX_BACKGROUND + 1)]
        for tag in tags:
            self.upstream.manifests[tag.name] = self.one
            self.get(tag)
        self.clock.advance(HOUR)
        self.asked()
        self.upstream.holding = True
        for tag in tags:
            self.assertEqual(HOUR, self.get(tag).age)
        self.assertEqual(["HEAD"] * MAX_BACKGROUND, self.asked())
        self.upstream.release()
        self.assertEqual(HOUR, self.get(tags[-1]).age)
        self.assertEqual(["HEAD"], self.asked())
        self.assertEqual([None] * len(tags), [self.get(tag).age for tag in tags])


class Obstinate(FakeUpstream):
    """An upstream that calls it by another name when a HEAD is broken off, at its own time."""

    end: Deferred[None]

    async def manifest_digest(self, repository: str, tag: Tag) -> Digest | None:
        try:
            return await super().manifest_digest(repository, tag)
        except CancelledError:
            await self.end
            raise GatewayTimeout("given up") from None


class Stopping(BackgroundTestCase):
    """The daemon is stopped while upstream is asked."""

    def setUp(self) -> None:
        super().setUp()
        upstream = Obstinate(
            fake_settings(stale_while_revalidate=MINUTE),
            manifests=self.upstream.manifests,
            holding=True,
        )
        upstream.end = Deferred()
        self.upstream, self.target = upstream, Target(upstream, "library/app")
        self.end = upstream.end

    def stop(self) -> Deferred[None]:
        return self.start(self.manifests.stop())

    def test_idle(self) -> None:
        """Where nothing is asked there is nothing to wait for."""
        self.successResultOf(self.stop())

    def test_broken_off(self) -> None:
        """Questions are broken off, whoever asked them, and waited for; no timer is left."""
        self.served_at_once()
        waiting = [self.begin(Tag("other")), self.begin(Digest.of(b"x"))]
        stopped = self.stop()
        for client in waiting:
            self.failureResultOf(client, CancelledError)
        self.assertNoResult(stopped)
        self.end.callback(None)
        self.successResultOf(stopped)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_not_a_failure(self) -> None:
        """What upstream makes of being broken off is no failure, and no other question follows."""
        self.end.callback(None)
        for if_error in (HOUR, 0.0):
            self.upstream.change(stale_if_error=if_error)
            self.restart()
            self.served_at_once()
            self.successResultOf(self.stop())
            self.assertEqual((["HEAD"], []), (self.asked(), self.log))
            self.assertEqual(0, self.counted("oci_registry_errors_total", kind="stale"))
