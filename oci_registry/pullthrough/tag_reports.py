"""What the log and the metrics say of tags."""

from __future__ import annotations

from twisted.logger import Logger

from oci_registry.metrics import Metrics
from oci_registry.pullthrough.tag_policy import Decision
from oci_registry.repeats import Group, RepeatLog, without_names
from oci_registry.spec.durations import format_duration
from oci_registry.spec.reference import Tag
from oci_registry.storage.tags import TagRecord, Waiting
from oci_registry.upstream.table import Target


class TagReports:
    """Reports tags that cannot be revalidated, and new digests: when they are first seen, and when adopted."""

    _log = Logger()

    def __init__(self, metrics: Metrics, repeats: RepeatLog) -> None:
        self._metrics = metrics
        self._repeats = repeats

    def warn(self, target: Target, tag: Tag, what: str, error: str) -> None:
        """Warn about a tag; at most once a minute for each reason, whichever tag it is."""
        upstream, repository = target.upstream, target.repository
        self._repeats.warn(
            Group.of(upstream.namespace, "tags", configured=upstream.settings.configured),
            (upstream.namespace, what, without_names(error, repository, tag.name)),
            "{host}/{repository}:{tag} {what}: {error}",
            host=upstream.namespace,
            repository=repository,
            tag=tag.name,
            what=what,
            error=error,
        )

    def decided(
        self, target: Target, tag: Tag, decision: Decision, before: TagRecord | None
    ) -> None:
        """It was decided what is served; *before*: the record so far."""
        if decision.waiting is not None:
            self._metrics.tag_move(target.upstream.namespace, "waiting")
        if not decision.moved:
            return
        if decision.waiting is not None:
            self._waits(target, tag, decision, decision.waiting)
        elif before is not None and before.digest != decision.digest:
            self._metrics.tag_move(target.upstream.namespace, "adopted")
            # Without a minimum age, tags of some registries move all the time.
            say = self._log.debug if before.waiting is None else self._log.info
            say(
                "{image}: now {digest}, before {before}",
                image=_image(target, tag),
                digest=str(decision.digest),
                before=str(before.digest),
            )

    def _waits(self, target: Target, tag: Tag, decision: Decision, waiting: Waiting) -> None:
        min_age = target.upstream.settings.min_age.of(target.repository, tag.name)
        self._log.info(
            "{image}: the new digest {waiting} is adopted when it has been seen for {age} (min_age); "
            "{digest} is served until then",
            image=_image(target, tag),
            waiting=str(waiting.digest),
            age=format_duration(min_age),
            digest=str(decision.digest),
        )

    def previous_is_gone(self, target: Target, tag: Tag, decision: Decision) -> None:
        """The digest that should be served exists neither in the store nor upstream."""
        assert decision.waiting is not None
        self._log.warn(
            "{image}: the new digest {waiting} is adopted before its min_age: {digest} is neither stored "
            "nor at the registry any more",
            image=_image(target, tag),
            waiting=str(decision.waiting.digest),
            digest=str(decision.digest),
        )


def _image(target: Target, tag: Tag) -> str:
    return f"{target.upstream.namespace}/{target.repository}:{tag.name}"
