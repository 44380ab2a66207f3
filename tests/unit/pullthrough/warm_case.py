"""Images of an upstream, and what fetches them for no client."""

from __future__ import annotations

import json

from oci_registry.pullthrough.prefetch import Prefetcher, PrefetchLimits
from oci_registry.pullthrough.remembered_platforms import RememberedPlatforms
from oci_registry.pullthrough.warm_state import WarmLimits
from oci_registry.pullthrough.warmer import Warmer
from oci_registry.pullthrough.warming import Warming
from oci_registry.spec.digest import Digest
from oci_registry.spec.errors import NameUnknown
from oci_registry.spec.image import parse_image
from oci_registry.spec.manifest import Manifest
from oci_registry.spec.mediatypes import OCI_INDEX, OCI_MANIFEST
from oci_registry.spec.platforms import Platform
from oci_registry.storage.keys import blob_key
from oci_registry.storage.platforms import PlatformStore
from oci_registry.streams.parsing import ManifestReader
from oci_registry.streams.steps import pauses
from tests.support.fake_upstream import FakeUpstream, manifest_of
from tests.support.streams import run_at_once
from tests.unit.pullthrough.support import CacheTestCase


class WarmTestCase(CacheTestCase):
    """One upstream, example.com, with images."""

    warm_limits = WarmLimits()
    prefetch_limits = PrefetchLimits()

    def restart(self) -> None:
        super().restart()
        pause = pauses(self.clock)
        reader = ManifestReader(run_at_once)
        self.warmer = Warmer(
            self.upstream_of,
            self.background,
            self.blobs,
            reader,
            self.clock,
            pause,
            self.warm_limits,
        )
        self.prefetcher = Prefetcher(
            self.background,
            self.blobs,
            RememberedPlatforms(PlatformStore(self.driver), self.writer, self.health, self.clock),
            self.health,
            self.metrics,
            self.clock,
            pause,
            self.prefetch_limits,
        )

    def upstream_of(self, registry: str) -> FakeUpstream:
        if registry != "example.com":
            raise NameUnknown(f"the registry {registry} is not configured in this mirror")
        return self.upstream

    def image(
        self, tag: str | None, *layers: bytes, media_type: str = "a/b", like: str = ""
    ) -> Manifest:
        """Have an image with a config of its own; return its manifest."""
        config = f"config of {tag} {like}".encode()
        described = [
            {
                "mediaType": media_type,
                "digest": str(self.upstream.add_blob(data)),
                "size": len(data),
            }
            for data in (config, *layers)
        ]
        document = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": described[0],
            "layers": described[1:],
        }
        return self.upstream.add(json.dumps(document).encode(), tag)

    def index(self, tag: str, children: dict[str, Manifest]) -> Manifest:
        """Have an index; the names of its children are platforms, ``-`` for none."""
        entries = []
        for platform, manifest in children.items():
            entry: dict[str, object] = {
                "mediaType": manifest.media_type,
                "digest": str(manifest.digest),
                "size": len(manifest.raw),
            }
            if platform != "-":
                system, _, architecture = platform.partition("/")
                entry["platform"] = {"os": system, "architecture": architecture}
            entries.append(entry)
        raw = json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries})
        index = manifest_of(raw.encode(), OCI_INDEX)
        self.upstream.manifests[str(index.digest)] = self.upstream.manifests[tag] = index
        return index

    def begin(self, *images: str, platforms: str = "", jobs: int = 4) -> Warming:
        """Begin to warm images of example.com/library/app, by tag or digest."""
        names = [parse_image(f"example.com/library/app{image}") for image in images]
        wanted = [Platform.parse(text) for text in platforms.split()]
        return self.warmer.begin(names, wanted, jobs)

    def go(self, warming: Warming | None = None, seconds: float = 0.0) -> None:
        """Let all continue that does not wait for upstream."""
        for _ in range(200):
            self.clock.advance(0)
        if seconds:
            self.clock.advance(seconds)
            self.go()

    def warm(self, *images: str, platforms: str = "", jobs: int = 4) -> Warming:
        """Warm images, and return what has become of them."""
        warming = self.begin(*images, platforms=platforms, jobs=jobs)
        self.go()
        self.assertTrue(warming.ended)
        return warming

    def states(self, warming: Warming) -> list[str]:
        return [image.state.value for image in warming.images]

    def blob_stored(self, data: bytes) -> bool:
        return blob_key(Digest.of(data)) in self.stored()

    def gets(self) -> list[str]:
        """Return what was requested from upstream, sorted."""
        return sorted(asked for asked in self.upstream.asked if asked.startswith("GET"))
