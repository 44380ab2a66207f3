"""What holds of any store: sums are right, and nothing is removed that is still needed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.management.answers import DiskUse
from oci_registry.management.source import Wanted
from oci_registry.spec.digest import Digest, digests_in
from oci_registry.storage.keys import parse_blob_key, parse_manifest_key, parse_tag_key
from oci_registry.storage.tags import TagRecord
from tests import examples
from tests.unit.account.support import HUB, OWN
from tests.unit.management.support import ManagementTestCase, subject

EXAMPLES = settings(max_examples=examples(2))
NUMBERS = st.integers(0, 5)
HOSTS = st.sampled_from([HUB, OWN])
IMAGES = st.lists(st.tuples(HOSTS, st.lists(NUMBERS, min_size=1, max_size=3)), max_size=6)
INDEXES = st.lists(st.tuples(HOSTS, st.lists(NUMBERS, max_size=3)), max_size=3)
TAGS = st.lists(
    st.tuples(st.sampled_from(["a/b", "c/d"]), st.sampled_from("12"), NUMBERS), max_size=5
)


class World:
    """A store with some images."""

    def __init__(self, case: Any, images: Any, indexes: Any, tags: Any, stored: set[int]) -> None:
        self.case = ManagementTestCase("run")
        self.case.setUp()
        case.addCleanup(self.case.doCleanups)
        for number in stored:
            self.case.blob(b"%d" % number * (number + 1))
        made: list[tuple[str, Digest]] = []
        for host, layers in images:
            digests = [Digest.of(b"%d" % number * (number + 1)) for number in layers]
            made.append((host, self.case.manifest(*digests, host=host, repository=None)))
        for host, children in indexes:
            named = [digest for own, digest in made if own == host]
            chosen = [named[number % len(named)] for number in children if named]
            made.append((host, self.case.index_of(*chosen, host=host, repository="e/f")))
        for repository, tag, number in tags:
            if made:
                host, digest = made[number % len(made)]
                self.case.name(f"{host}/{repository}:{tag}", digest)
        self.made = made

    @property
    def contents(self) -> dict[str, bytes]:
        return {key: data for key, (data, _) in self.case.driver._objects.items()}

    def named(self) -> dict[tuple[str, Digest], set[Digest]]:
        """Return what each stored manifest names."""
        found = {}
        for key, data in self.contents.items():
            manifest = parse_manifest_key(key)
            if manifest is not None:
                found[manifest] = set(digests_in(data.partition(b"\n")[2]))
        return found

    def blobs(self) -> dict[Digest, int]:
        found = {parse_blob_key(key): len(data) for key, data in self.contents.items()}
        return {digest: size for digest, size in found.items() if digest is not None}

    def owners(self) -> dict[tuple[str, Digest], set[tuple[str, str | None]]]:
        """Return which repositories need each manifest, slowly."""
        manifests = self.named()
        tagged: dict[tuple[str, Digest], set[tuple[str, str | None]]] = {}
        for key, data in self.contents.items():
            tag = parse_tag_key(key)
            if tag is not None:
                digest = TagRecord.from_json(data).digest
                tagged.setdefault((tag[0], digest), set()).add(tag[:2])

        def of(manifest: tuple[str, Digest]) -> set[tuple[str, str | None]]:
            host, digest = manifest
            found = set(tagged.get(manifest, set()))
            for parent, names in manifests.items():
                if parent[0] == host and digest in names:
                    found |= of(parent)
            if not found:
                data = next(
                    data
                    for key, data in self.contents.items()
                    if parse_manifest_key(key) == manifest
                )
                found = {(host, "e/f" if b'"e/f"' in data.partition(b"\n")[0] else None)}
            return found

        return {manifest: of(manifest) for manifest in manifests}


def worlds(test: Callable[..., None]) -> Callable[..., None]:
    """Give a test any small store."""
    return EXAMPLES(given(IMAGES, INDEXES, TAGS, st.sets(NUMBERS), st.data())(test))


class Properties(SynchronousTestCase):
    """Any store with some images."""

    @worlds
    def test_sums(self, images: Any, indexes: Any, tags: Any, stored: Any, _: Any) -> None:
        """Every byte counts once: as unique to a repository, as shared, or as nobody's."""
        world = World(self, images, indexes, tags, stored)
        use: DiskUse = world.case.result(world.case.management.du())
        blobs, owners, manifests = world.blobs(), world.owners(), world.named()
        expected: dict[tuple[str, str | None], list[int]] = {}
        unnamed = 0
        sizes: list[tuple[int, set[tuple[str, str | None]]]] = []
        for digest, size in blobs.items():
            needed = [owners[one] for one, names in manifests.items() if digest in names]
            sizes.append((size, set().union(*needed)))
        for key, data in world.contents.items():
            manifest = parse_manifest_key(key)
            if manifest is not None:
                sizes.append((len(data), owners[manifest]))
        for size, needing in sizes:
            unnamed += 0 if needing else size
            for owner in needing:
                expected.setdefault(owner, [0, 0])[len(needing) > 1] += size
        found = {
            (one.registry, one.repository): [one.unique, one.shared] for one in use.repositories
        }
        self.assertEqual(expected, found)
        self.assertEqual(unnamed, use.unnamed_size)
        self.assertEqual(sum(size for size, _ in sizes), use.size)
        self.assertEqual((len(blobs), len(manifests)), (use.blobs, use.manifests))
        self.assertEqual(use, DiskUse.from_json(use.to_json()))
        listed = world.case.result(world.case.management.list(Wanted(limit=1000)))
        self.assertEqual(len(listed.images), sum(one.images for one in use.repositories))
        self.assertEqual(len(listed.images), sum(one.images for one in use.registries))

    @worlds
    def test_removal(
        self, images: Any, indexes: Any, tags: Any, stored: Any, data: st.DataObject
    ) -> None:
        """Whatever image is removed, all others are as complete as before, and nothing of it is left over."""
        world = World(self, images, indexes, tags, stored)
        management = world.case.management
        names = [one.name for one in world.case.result(management.list(Wanted())).images]
        names += [f"{host}/@{digest}" for host, digest in world.made]
        if not names:
            return
        name = data.draw(st.sampled_from(sorted(set(names))))
        manifests, blobs = world.named(), world.blobs()
        image = world.case.result(management.show(subject(name))).image
        removal = world.case.result(management.remove(subject(name), blobs=True))
        left, stored_now = world.named(), world.blobs()
        for (host, digest), named in left.items():
            self.assertLessEqual(named & blobs.keys(), stored_now.keys(), digest)
            lost = {one for own, one in manifests if own == host and one in named}
            lost -= {one for own, one in left if own == host}
            # What was named itself goes, whoever names it.
            self.assertLessEqual(lost, {subject(name).digest})
        for each in removal.blobs:
            self.assertFalse(any(Digest.parse(each) in named for named in left.values()))
        if removal.blobs:
            self.assertEqual(image.unique, removal.size)
