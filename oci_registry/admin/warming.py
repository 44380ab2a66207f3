"""The API's handlers for warming: begin one, return its state, cancel it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

from attrs import evolve

from oci_registry.admin.fields import Parameter, Several, Text, Values, Whole
from oci_registry.admin.problems import InvalidName, InvalidRequest, NotFound, NotPossible
from oci_registry.admin.routes import AnyRoute, Route
from oci_registry.admin.warm_answers import (
    WarmedImage,
    WarmedImages,
    WarmProblem,
    WarmReserve,
    WarmStatus,
)
from oci_registry.events import EventLog
from oci_registry.pullthrough.warm_state import (
    AlreadyRunning,
    ImageState,
    TooMuch,
    WarmImage,
    WarmLimits,
)
from oci_registry.pullthrough.warmer import Warmer
from oci_registry.pullthrough.warming import Warming
from oci_registry.spec.errors import RegistryError, shown
from oci_registry.spec.image import LATEST, ImageName
from oci_registry.spec.platforms import Platform

JOBS = 4
MOST_PLATFORMS = 20
LONGEST_NAME = 512
MOST_PROBLEMS = 100
_LONGEST_PLATFORM = 200
_GROUP = "Warming"
_LIMITS = WarmLimits()
_NONE = WarmStatus(None, "none", None, None, (), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, (), ())


class WarmHandlers:
    """Begins warmings, returns their state, and cancels them; start, end and failures are events.

    *parse*: reads the name of an image as clients write it.
    """

    def __init__(self, warmer: Warmer, parse: Callable[[str], ImageName], events: EventLog) -> None:
        self._warmer = warmer
        self._parse = parse
        self._events = events

    async def start(self, values: Values) -> WarmStatus:
        """Begin to fetch images."""
        images = [self._image(number, text) for number, text in enumerate(values["images"], 1)]
        platforms = [_platform(number, text) for number, text in enumerate(values["platforms"], 1)]
        try:
            warming = self._warmer.begin(images, platforms, values["jobs"])
        except AlreadyRunning as error:
            raise NotPossible(str(error)) from None
        except TooMuch as error:
            raise InvalidRequest.at("field images", str(error)) from None
        self._events.record("warm", phase="begun", run=warming.number, images=len(warming.images))
        warming.watch(lambda image: self._changed(warming, image))
        warming.wait().addCallback(lambda _: self._ended(warming))
        return warm_status(warming)

    def _image(self, number: int, text: str) -> ImageName:
        try:
            name = self._parse(text)
        except RegistryError as error:
            raise InvalidName(f"field images, value {number}: {error.message}") from None
        if name.digest is not None:
            # As for clients, a digest overrides the tag.
            return evolve(name, tag=None)
        return name if name.tag is not None else name.tagged(LATEST)

    def _changed(self, warming: Warming, image: WarmImage) -> None:
        if image.state is ImageState.FAILED and warming.count(image.state) <= MOST_PROBLEMS:
            self._events.record(
                "warm",
                phase="failed",
                run=warming.number,
                name=str(image.name),
                error=image.problems[0],
            )

    def _ended(self, warming: Warming) -> None:
        status = warm_status(warming)
        self._events.record(
            "warm",
            phase=status.state,
            run=status.run,
            images=status.images,
            done=status.done,
            failed=status.failed,
            left=status.left,
            cancelled=status.cancelled,
            fetched=status.fetched,
            size=status.bytes_stored,
            seconds=round((status.ended or warming.began) - warming.began, 3),
        )

    async def status(self, values: Values) -> WarmStatus:
        """Return the state of a warming: that of the running or latest one, if none is named."""
        if values["run"] is None and self._warmer.latest is None:
            return _NONE
        return warm_status(self._find(values))

    async def images(self, values: Values) -> WarmedImages:
        """Return a page of the images of a warming."""
        warming, after = self._find(values), values["after"]
        if after is not None and not (after.isascii() and after.isdigit() and len(after) < 10):
            raise InvalidRequest.at("query parameter after", "is not `next` of a page")
        start = int(after or 0)
        stop = start + values["limit"]
        page = tuple(_warmed_image(image) for image in warming.images[start:stop])
        more = stop < len(warming.images)
        return WarmedImages(warming.number, page, str(stop) if more else None)

    async def cancel(self, values: Values) -> WarmStatus:
        """Stop requesting for a warming; running downloads continue."""
        if values["run"] is None and self._warmer.latest is None:
            return _NONE
        warming = self._find(values)
        warming.cancel()
        return warm_status(warming)

    def _find(self, values: Values) -> Warming:
        run = values["run"]
        warming = self._warmer.latest if run is None else self._warmer.find(run)
        if warming is not None:
            return warming
        raise NotFound(
            "nothing was warmed since the daemon has started"
            if run is None
            else f"the daemon has no warming {run}: it was too long ago, or before the daemon has started"
        )


def _platform(number: int, text: str) -> Platform:
    try:
        return Platform.parse(text)
    except ValueError as error:
        raise InvalidRequest.at(
            f"field platforms, value {number}", f"{error}, not {shown(text, 80)}"
        ) from None


def warm_status(warming: Warming) -> WarmStatus:
    """Return the state of a warming."""
    images = warming.images
    failed = (image for image in images if image.state is ImageState.FAILED)
    return WarmStatus(
        run=warming.number,
        state=_state(warming),
        began=warming.began,
        ended=warming.end,
        platforms=tuple(map(str, warming.platforms)),
        jobs=warming.jobs,
        images=len(images),
        **{state.value: warming.count(state) for state in ImageState},
        fetched=sum(image.fetched for image in images),
        bytes=sum(image.bytes for image in images),
        bytes_stored=sum(image.bytes_stored for image in images),
        bytes_received=warming.bytes_received,
        reserved=tuple(WarmReserve(*each) for each in warming.reserved.items()),
        problems=tuple(
            WarmProblem(str(image.name), image.problems[0])
            for image in islice(failed, MOST_PROBLEMS)
        ),
    )


def _state(warming: Warming) -> str:
    if not warming.ended:
        return "running"
    if warming.cancelled:
        return "cancelled"
    return "reserve" if warming.count(ImageState.LEFT) else "ended"


def _warmed_image(image: WarmImage) -> WarmedImage:
    return WarmedImage(
        name=str(image.name),
        state=image.state.value,
        digest=None if image.digest is None else str(image.digest),
        platforms=tuple(image.platforms),
        manifests=image.manifests,
        blobs=image.blobs,
        blobs_stored=image.blobs_stored,
        bytes=image.bytes,
        bytes_stored=image.bytes_stored,
        fetched=image.fetched,
        problems=tuple(image.problems),
        notes=tuple(image.notes),
    )


def warm_routes(warm: WarmHandlers) -> list[AnyRoute]:
    """Return the routes about warming."""
    run = Parameter(
        "run",
        Whole(1, 10**9),
        "the number of a warming; default: the one that is running, or the latest",
    )
    images = Parameter(
        "images",
        Several(Text(LONGEST_NAME), _LIMITS.images, 1),
        "the images as clients name them: `docker.io/library/x:1`, `x:1`, `...@sha256:...`",
        required=True,
    )
    platforms = Parameter(
        "platforms",
        Several(Text(_LONGEST_PLATFORM), MOST_PLATFORMS),
        "of images that have several platforms, fetch these: `linux/amd64`; default: all",
        default=(),
    )
    jobs = Parameter(
        "jobs",
        Whole(1, _LIMITS.jobs),
        "requests and downloads that are under way at once",
        default=JOBS,
    )
    return [
        Route(
            "GET",
            "/warm",
            "warm",
            _GROUP,
            "How far a warming is",
            WarmStatus,
            warm.status,
            query=[run],
            errors=[404],
        ),
        Route(
            "POST",
            "/warm",
            "start_warm",
            _GROUP,
            "Have images fetched before clients pull them, unless others are being fetched",
            WarmStatus,
            warm.start,
            body=[images, platforms, jobs],
            status=202,
            errors=[409],
        ),
        Route(
            "DELETE",
            "/warm",
            "cancel_warm",
            _GROUP,
            "Cancel a warming; downloads that have begun go on",
            WarmStatus,
            warm.cancel,
            query=[run],
            errors=[404],
        ),
        Route(
            "GET",
            "/warm/images",
            "warmed_images",
            _GROUP,
            "The images of a warming",
            WarmedImages,
            warm.images,
            query=[
                run,
                Parameter("limit", Whole(1, _LIMITS.images), "the most of them", default=100),
                Parameter("after", Text(), "`next` of the page before"),
            ],
            errors=[404],
        ),
    ]
