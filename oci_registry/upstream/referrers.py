"""Lists of referrers (OCI distribution spec, "Listing Referrers")."""

from __future__ import annotations

from attrs import frozen
from twisted.internet.interfaces import IReactorTime
from twisted.web.iweb import IResponse

from oci_registry.spec.digest import Digest
from oci_registry.spec.elements import ArrayReader
from oci_registry.spec.errors import Denied, GatewayTimeout, ManifestUnknown, RegistryError
from oci_registry.spec.mediatypes import OCI_INDEX
from oci_registry.upstream.errors import TargetRefused, WrongAnswer
from oci_registry.upstream.failures import header
from oci_registry.upstream.interfaces import IncompleteList, Referrers
from oci_registry.upstream.lists import Ask, Pages, warning_of

MAX_REFERRERS = 4 * 1024 * 1024
"""Bytes of all referrers together; clients refuse more (containerd's limit)."""
MAX_PAGES = 256
"""The maximum number of pages that are joined."""
LONGEST = 120.0
"""Seconds for all pages together."""

_WHAT = "a list of referrers"
_FINAL = (ManifestUnknown, Denied, WrongAnswer, TargetRefused)
"""Errors that a retry would not change: this upstream has no such list, or not for us."""


@frozen
class _Page:
    """A page of the API, its *length* in bytes, the query of the page *following* it, and a *warning*."""

    manifests: tuple[dict[str, object], ...]
    length: int
    following: str | None
    warning: str | None


class ReferrersLister:
    """Lists the referrers of a manifest by the API or, if it is not supported, by the referrers tag."""

    def __init__(self, host: str, clock: IReactorTime, repository: str) -> None:
        self._host = host
        self._clock = clock
        self._repository = repository

    async def fetch(self, ask: Ask, digest: Digest) -> Referrers:
        """Return all referrers; none, with *listed* false, if the host has neither the API nor such a tag.

        Raises the API's error if there is no tag and the error is temporary.
        """
        pages = Pages(self._host, self._clock, self._repository, ask)
        try:
            first = await self._page(pages, digest, "", MAX_REFERRERS)
        except IncompleteList:
            raise
        except RegistryError as error:
            return await self._from_tag(pages, digest, error)
        return await self._with_the_rest(pages, digest, first)

    async def _with_the_rest(self, pages: Pages, digest: Digest, first: _Page) -> Referrers:
        """Join all pages, since clients do not follow links (containerd)."""
        manifests, page, left = list(first.manifests), first, MAX_REFERRERS - first.length
        began, asked = self._clock.seconds(), {""}
        while page.following is not None:
            if page.following in asked or len(asked) == MAX_PAGES:
                raise IncompleteList(
                    f"upstream {self._host} has more referrers than the mirror reads"
                )
            if self._clock.seconds() - began > LONGEST:
                raise GatewayTimeout(f"upstream {self._host} did not send its referrers in time")
            asked.add(page.following)
            try:
                page = await self._page(pages, digest, page.following, left)
            except RegistryError as error:
                raise self._broken_off(error) from error
            manifests.extend(page.manifests)
            left -= page.length
        return Referrers(tuple(manifests), warning=first.warning)

    def _broken_off(self, error: RegistryError) -> RegistryError:
        """Return the error for a further page: the API exists, so the tag is not tried."""
        if isinstance(error, _FINAL):
            return IncompleteList(f"a part of the referrers is missing: {error.message}")
        return error

    async def _page(self, pages: Pages, digest: Digest, query: str, limit: int) -> _Page:
        response = await pages.get(f"referrers/{digest}", query)
        if response.code != 200:
            raise self._refuse(pages, response)
        body = await pages.read(response, limit)
        found = await pages.parse(body, "manifests", _WHAT)
        if not found.present and not _is_index(found, header(response, "Content-Type")):
            raise WrongAnswer(f"upstream {self._host} sent {_WHAT} without manifests")
        following = pages.following(response, query, _WHAT)
        return _Page(_descriptors(found), len(body), following, warning_of(response))

    def _refuse(self, pages: Pages, response: IResponse) -> RegistryError:
        error = pages.refuse(response, ManifestUnknown, _WHAT)
        if response.code < 400 or response.code == 501:
            # This error is not temporary: there is no such API.
            return WrongAnswer(error.message)
        return error

    async def _from_tag(self, pages: Pages, digest: Digest, error: RegistryError) -> Referrers:
        """Read the referrers tag (OCI distribution spec, "Referrers Tag Schema").

        *error*: why the API cannot be used; raised if there is no such tag and *error* is temporary.
        """
        # The specification truncates the hex part, since a tag has at most 128 characters.
        tag = f"{digest.algorithm}-{digest.encoded[:64]}"
        final = isinstance(error, _FINAL)
        try:
            referrers = await self._tagged(pages, digest, tag)
        except IncompleteList:
            raise
        except (ManifestUnknown, WrongAnswer):
            referrers = None
        except RegistryError:
            if final:
                raise
            raise error from None
        if referrers is None and not final:
            raise error
        return referrers or Referrers((), listed=False)

    async def _tagged(self, pages: Pages, digest: Digest, tag: str) -> Referrers | None:
        """Return the referrers in an index; None if it is not a list of referrers."""
        response = await pages.get(f"manifests/{tag}")
        if response.code != 200:
            raise self._refuse(pages, response)
        body = await pages.read(response, MAX_REFERRERS)
        if Digest.of(body, digest.algorithm) == digest:
            # Some registries treat the tag as the digest itself (GitLab).
            return None
        found = await pages.parse(body, "manifests", _WHAT)
        if not found.present and not _is_index(found, header(response, "Content-Type")):
            return None
        return Referrers(_descriptors(found))


def _descriptors(found: ArrayReader) -> tuple[dict[str, object], ...]:
    return tuple(item for item in found.elements or () if isinstance(item, dict))


def _is_index(found: ArrayReader, content_type: str | None) -> bool:
    """Whether an object without manifests is an index that has none."""
    declared = found.media_type or (content_type or "").partition(";")[0].strip().lower()
    return declared == OCI_INDEX
