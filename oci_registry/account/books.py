"""Maintains the tables of the account: what is at each key of the store.

Everything here runs in the thread of the account, within the caller's transaction.
"""

from __future__ import annotations

import sqlite3

from oci_registry.account.nouns import MAIN, NEWEST, PROBATION, Medium, Sums, pack
from oci_registry.account.numbers import Numbers
from oci_registry.spec.digest import Digest, digests_in
from oci_registry.spec.errors import RegistryError
from oci_registry.spec.manifest import MAX_MANIFEST_SIZE, Manifest
from oci_registry.storage.interfaces import ObjectInfo
from oci_registry.storage.keys import (
    parse_blob_key,
    parse_manifest_key,
    parse_referrers_key,
    parse_tag_key,
)
from oci_registry.storage.manifests import read_head
from oci_registry.storage.tags import TagRecord
from oci_registry.storage.usage import GRANULARITY

MOST_PULLS = 3
"""The highest value of the two-bit counter of pulls."""
HISTORY = 20
"""The maximum number of manifests that are remembered for each tag."""
RETAGGED = 10_000
"""The number of repositories whose latest change of tags is remembered."""
_LARGEST_MANIFEST = MAX_MANIFEST_SIZE + 1024
_LARGEST_TAG = 4096


class Books(Numbers):
    """Updates the tables with what is at a key of the store.

    *began*: when this process started, in seconds since the epoch: content of other programs counts as
    used at that time or later.
    """

    def __init__(self, connection: sqlite3.Connection, medium: Medium, began: float) -> None:
        self.sums = Sums()
        self.sql = connection
        self.medium = medium
        self.began = began
        self.tag_changes = 0
        """Counts changes that may affect the newest tags of a repository."""
        self._retagged: dict[int, int] = {}
        self._forgotten = 0
        self._place = 0
        self._saved = (0, 0, 0, 0)
        self.load()

    def load(self) -> None:
        """Read the sums, at the start and after a transaction was rolled back."""
        found = dict(self.sql.execute("SELECT name, value FROM meta"))
        self.sums = Sums(*(int(found.get(name, 0)) for name in ("objects", "size", "disk")))
        self._place = int(found.get("place", 0))
        self._saved = (self.sums.objects, self.sums.size, self.sums.disk, self._place)

    def save(self) -> None:
        """Write the sums, at the end of a transaction."""
        values = (self.sums.objects, self.sums.size, self.sums.disk, self._place)
        if values != self._saved:
            names = ("objects", "size", "disk", "place")
            self.sql.executemany(
                "INSERT OR REPLACE INTO meta VALUES (?, ?)", list(zip(names, values, strict=True))
            )
            self._saved = values

    # -- keys

    def refresh(self, key: str) -> None:
        """Update the tables with what is at *key* now."""
        info = self.medium.look(key)
        if info is None:
            self.forget(key)
        else:
            self.record(info)

    def record(self, info: ObjectInfo) -> None:
        """Record an object."""
        key = info.key
        blob = parse_blob_key(key)
        if blob is not None:
            self._record_blob(blob, info)
        elif (manifest := parse_manifest_key(key)) is not None:
            self._record_manifest(*manifest, info)
        elif (tag := parse_tag_key(key)) is not None:
            self._record_tag(*tag, info)
        elif (listed := parse_referrers_key(key)) is not None:
            self._record_list(*listed, info)

    def forget(self, key: str) -> None:
        """Record that there is no object at *key*."""
        blob = parse_blob_key(key)
        if blob is not None:
            self.forget_blob(self.known_content(blob))
        elif (manifest := parse_manifest_key(key)) is not None:
            self.forget_manifest(self._manifest(*manifest))
        elif (tag := parse_tag_key(key)) is not None:
            host, repository, name = tag
            self.forget_tag(self._known_repository(host, repository), name)
        elif (listed := parse_referrers_key(key)) is not None:
            host, repository, digest = listed
            self.forget_list(self._known_repository(host, repository), self.known_content(digest))

    def use(self, key: str, when: float) -> None:
        """Record a use of the object at *key*."""
        blob = parse_blob_key(key)
        if blob is not None:
            self.sql.execute(
                "UPDATE blobs SET used=? WHERE content=? AND used<?",
                (when, self.known_content(blob), when),
            )
        elif (manifest := parse_manifest_key(key)) is not None:
            self._use_manifest(*manifest, when)
        elif (listed := parse_referrers_key(key)) is not None:
            host, repository, digest = listed
            row = (when, self._known_repository(host, repository), self.known_content(digest), when)
            self.sql.execute(
                "UPDATE lists SET used=? WHERE repository=? AND content=? AND used<?", row
            )

    def keep(self, host: str, digest: Digest, when: float) -> None:
        """Count a manifest, and everything that it needs, as used but not pulled."""
        self._use_manifest(host, digest, when, pulled=False)

    # -- blobs

    def _record_blob(self, digest: Digest, info: ObjectInfo) -> None:
        content = self._content(digest)
        used = info.used if info.sealed else max(info.used, self.began)
        row = self.sql.execute(
            "SELECT size, used, verified FROM blobs WHERE content=?", (content,)
        ).fetchone()
        before: int | None = None if row is None else row[0]
        if row is not None:
            after = (info.size, max(used, row[1]), int(info.sealed))
            if after != row:
                self.sql.execute(
                    "UPDATE blobs SET size=?, used=?, verified=? WHERE content=?", (*after, content)
                )
        else:
            needed = self._value(
                "SELECT max(m.used) FROM edges e CROSS JOIN manifests m ON m.content=e.parent WHERE e.child=?",
                content,
            )
            self.sql.execute(
                "INSERT INTO blobs VALUES (?, ?, ?, ?, ?)",
                (content, info.size, info.used, max(used, needed or 0.0), info.sealed),
            )
        self.sums.change(before, info.size)

    def forget_blob(self, content: int | None) -> None:
        """Record that a blob is not stored."""
        before = self._value("SELECT size FROM blobs WHERE content=?", content)
        if before is not None:
            self.sql.execute("DELETE FROM blobs WHERE content=?", (content,))
            self.sums.change(before, None)

    # -- manifests

    def _record_manifest(self, host: str, digest: Digest, info: ObjectInfo) -> None:
        number = self._manifest(host, digest)
        if number is not None:
            before = self._value("SELECT size FROM manifests WHERE id=?", number)
            if before != info.size:
                self.sql.execute("UPDATE manifests SET size=? WHERE id=?", (info.size, number))
                self.sums.change(before, info.size)
            # The uses that a bucket reports are those of other replicas.
            self._use_manifest(host, digest, info.used, pulled=self.medium.remote)
            return
        content, registry = self._content(digest), self._host(host)
        media_type, repository = self._read_edges(info.key, digest, content)
        ghost = (content, registry)
        haunted = self.sql.execute("DELETE FROM ghosts WHERE content=? AND host=?", ghost).rowcount
        needed = self._value(
            "SELECT max(m.used) FROM edges e CROSS JOIN manifests m ON m.content=e.parent"
            " WHERE e.child=? AND +m.host=?",
            content,
            registry,
        )
        used = max(info.used, needed or 0.0)
        queue = MAIN if haunted > 0 else PROBATION
        self.sql.execute(
            "INSERT INTO manifests"
            " (host, content, type, size, added, used, pulled, pulls, queue, place, total, repository)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?, ?, 0, ?)",
            (
                registry,
                content,
                media_type,
                info.size,
                info.used,
                used,
                info.used,
                queue,
                self.next_place(),
                None if repository is None else self._repository(host, repository),
            ),
        )
        self.sums.change(None, info.size)
        self._spread(registry, content, used)

    def next_place(self) -> int:
        """Return the next place at the end of a queue."""
        self._place += 1
        return self._place

    def _read_edges(self, key: str, digest: Digest, content: int) -> tuple[str, str | None]:
        """Record what a manifest names; return its media type and its repository.

        The type is "" if its bytes are wrong, the repository None if it is not known.
        """
        stored = self.medium.fetch(key, _LARGEST_MANIFEST)
        head, _, raw = (stored or b"").partition(b"\n")
        try:
            media_type, repository = read_head(head)
            if Digest.of(raw, digest.algorithm) != digest:
                # It may be a signed one, whose digest is that of the signed content.
                Manifest.restore(raw, media_type, digest)
        except (RegistryError, ValueError, KeyError, TypeError, RecursionError):
            return "", None
        if self._value("SELECT 1 FROM edges WHERE parent=?", content) is None:
            # Sorted, so that a new index is written sequentially.
            named = sorted(pack(one) for one in digests_in(raw) if one != digest)
            self.sql.executemany(
                "INSERT INTO content (digest) SELECT ?1 WHERE NOT EXISTS"
                " (SELECT 1 FROM content WHERE digest=?1)",
                [(one,) for one in named],
            )
            self.sql.executemany(
                "INSERT OR IGNORE INTO edges SELECT ?, id FROM content WHERE digest=?",
                [(content, one) for one in named],
            )
        return media_type, repository

    def _use_manifest(self, host: str, digest: Digest, when: float, *, pulled: bool = True) -> None:
        registry, content = self.known_host(host), self.known_content(digest)
        found = self.sql.execute(
            "SELECT id, used, pulled FROM manifests WHERE content=? AND host=?", (content, registry)
        ).fetchone()
        if found is None or registry is None or content is None:
            return
        number, used, last = found
        if pulled and when - last >= GRANULARITY:
            # One pull is several requests, so those within a minute count once.
            self.sql.execute(
                "UPDATE manifests SET pulled=?, pulls=min(pulls+1, ?), total=total+1 WHERE id=?",
                (when, MOST_PULLS, number),
            )
        if when > used:
            self.sql.execute("UPDATE manifests SET used=? WHERE id=?", (when, number))
            self._spread(registry, content, when)

    def _spread(self, registry: int, content: int, when: float) -> None:
        """Count a use of a manifest as a use of everything that it names."""
        waiting = [content]
        while waiting:
            parent = waiting.pop()
            self.sql.execute(
                "UPDATE blobs SET used=? WHERE used<?"
                " AND content IN (SELECT child FROM edges WHERE parent=?)",
                (when, when, parent),
            )
            children = self.sql.execute(
                "SELECT m.id, m.content FROM edges e CROSS JOIN manifests m ON m.content=e.child"
                " WHERE e.parent=? AND +m.host=? AND +m.used<?",
                (parent, registry, when),
            ).fetchall()
            for number, child in children:
                self.sql.execute("UPDATE manifests SET used=? WHERE id=?", (when, number))
                waiting.append(child)

    def forget_manifest(self, number: int | None) -> None:
        """Record that a manifest is not stored."""
        found = self.sql.execute(
            "SELECT content, size, kept_for FROM manifests WHERE id=?", (number,)
        ).fetchone()
        if found is None:
            return
        content, size, kept_for = found
        self.sql.execute("DELETE FROM manifests WHERE id=?", (number,))
        self._judge_again(kept_for)
        self.sums.change(size, None)
        if self._value("SELECT 1 FROM manifests WHERE content=?", content) is None:
            self.sql.execute("DELETE FROM edges WHERE parent=?", (content,))

    # -- tags

    def _record_tag(self, host: str, repository: str, tag: str, info: ObjectInfo) -> None:
        stored = self.medium.fetch(info.key, _LARGEST_TAG)
        try:
            record = TagRecord.from_json(stored or b"")
        except ValueError:
            return
        where, content = self._repository(host, repository), self._content(record.digest)
        before = self._current(where, tag)
        if before == content and self._confirmed(where, tag, content) >= record.checked:
            return
        if before is None:
            # A record takes one block, whatever its size.
            self.sums.change(None, 1, counted=False)
        elif before != content:
            self.sql.execute("UPDATE tags SET current=0 WHERE repository=? AND tag=?", (where, tag))
        self.sql.execute(
            "INSERT INTO tags VALUES (?, ?, ?, ?, ?, 1) ON CONFLICT DO UPDATE"
            " SET first=min(first, excluded.first), last=max(last, excluded.last), current=1",
            (where, tag, content, record.since, record.checked),
        )
        if before != content:
            self._judge_again(where)
            self.sql.execute(
                "DELETE FROM tags WHERE repository=? AND tag=? AND current=0 AND content NOT IN"
                " (SELECT content FROM tags WHERE repository=? AND tag=? ORDER BY last DESC LIMIT ?)",
                (where, tag, where, tag, HISTORY),
            )

    def _confirmed(self, repository: int, tag: str, content: int) -> float:
        return (
            self._value(
                "SELECT last FROM tags WHERE repository=? AND tag=? AND content=?",
                repository,
                tag,
                content,
            )
            or 0.0
        )

    def forget_tag(self, repository: int | None, tag: str) -> None:
        """Record that a tag has no record; the manifests that it has named are remembered."""
        content = self._current(repository, tag)
        if content is not None:
            self.sql.execute(
                "UPDATE tags SET current=0 WHERE repository=? AND tag=?", (repository, tag)
            )
            self.sums.change(1, None, counted=False)
            # Without it, the other tags move up in the order of age.
            kept = "SELECT 1 FROM manifests WHERE content=? AND queue=?"
            if self._value(kept, content, NEWEST) is not None:
                self._judge_again(repository)

    def _judge_again(self, repository: int | None) -> None:
        """Return images that are kept for the newest tags to probation, since tags have changed."""
        if repository is not None:
            if len(self._retagged) >= RETAGGED:
                self._forgotten = self.tag_changes
                self._retagged.clear()
            self.tag_changes += 1
            self._retagged[repository] = self.tag_changes
            self.sql.execute(
                "UPDATE manifests SET queue=?, kept_for=NULL WHERE kept_for=?",
                (PROBATION, repository),
            )

    def is_retagged(self, repository: int, since: int) -> bool:
        """Whether the tags of a repository may have changed since `tag_changes` had this value."""
        return self._retagged.get(repository, self._forgotten) > since

    def _current(self, repository: int | None, tag: str) -> int | None:
        return self._value(
            "SELECT content FROM tags WHERE repository=? AND tag=? AND current", repository, tag
        )

    # -- lists of referrers

    def _record_list(self, host: str, repository: str, digest: Digest, info: ObjectInfo) -> None:
        where, content = self._repository(host, repository), self._content(digest)
        before = self._list_size(where, content)
        self.sql.execute(
            "INSERT INTO lists VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE"
            " SET size=excluded.size, used=max(used, excluded.used)"
            " WHERE size<>excluded.size OR used<excluded.used",
            (where, content, info.size, info.used),
        )
        self.sums.change(before, info.size, counted=False)

    def forget_list(self, repository: int | None, content: int | None) -> None:
        """Record that a list of referrers is not stored."""
        before = self._list_size(repository, content)
        if before is not None:
            row = (repository, content)
            self.sql.execute("DELETE FROM lists WHERE repository=? AND content=?", row)
            self.sums.change(before, None, counted=False)

    def _list_size(self, repository: int | None, content: int | None) -> int | None:
        return self._value(
            "SELECT size FROM lists WHERE repository=? AND content=?", repository, content
        )
