"""Files of clients that setup has written: removed again, and what was there before is restored."""

from __future__ import annotations

import json

from oci_registry.setup.nouns import Unusable
from oci_registry.setup.removal import FOLDER, RecordedTree
from tests.integration.test_setup_writer import NOW, PATH, STAMP, TreeTestCase


class Removing(TreeTestCase):
    """A record below a directory of its own."""

    def setUp(self) -> None:
        super().setUp()
        self.record = RecordedTree(str(self.root), "client", lambda: NOW)
        self.recorded = self.root / FOLDER[1:] / "client.json"

    def outcomes(self) -> list[str]:
        """Remove everything and return what became of it."""
        removed = list(self.record.undo())
        self.assertEqual({str(self.file)} if removed else set(), {each.place for each in removed})
        return [each.outcome for each in removed]

    def test_new(self) -> None:
        """A file that setup has made is removed, with its empty directory and the record."""
        self.assertTrue(self.record.write(PATH, "ours").changed)
        self.assertTrue(self.recorded.exists())
        self.assertEqual(["removed"], self.outcomes())
        self.assertFalse(self.file.parent.exists())
        self.assertFalse(self.recorded.parent.exists())
        self.assertEqual([], self.outcomes())

    def test_others_beside(self) -> None:
        """A directory with something else in it stays."""
        self.record.write(PATH, "ours")
        (self.file.parent / "other").write_text("theirs")
        self.outcomes()
        self.assertEqual(["other"], self.names())

    def test_restored(self) -> None:
        """What was there before is restored with its mode, however often setup wrote since."""
        self.put("theirs", 0o600)
        for text in ("ours", "ours", "ours again"):
            self.record.write(PATH, text)
        self.assertEqual(["config", f"config.bak-{STAMP}"], self.names())
        self.assertEqual([f"restored from config.bak-{STAMP}"], self.outcomes())
        self.assertEqual(["config"], self.names())
        self.assertEqual("theirs", self.file.read_text())
        self.assertEqual(0o600, self.file.stat().st_mode & 0o777)

    def test_not_recorded(self) -> None:
        """A write that cannot be recorded is undone: nothing else would undo it later."""

        def full(entries: object) -> None:
            raise Unusable(FOLDER, "No space left on device")

        save = self.record._save
        self.patch(self.record, "_save", full)
        self.assertRaises(Unusable, self.record.write, PATH, "ours")
        self.assertFalse(self.file.exists())
        self.put("theirs", 0o600)
        self.assertRaises(Unusable, self.record.write, PATH, "ours")
        self.assertEqual((["config"], "theirs"), (self.names(), self.file.read_text()))
        self.patch(self.record, "_save", save)
        self.record.write(PATH, "ours")
        self.patch(self.record, "_save", full)
        self.assertRaises(Unusable, self.record.write, PATH, "ours again")
        self.assertEqual("ours", self.file.read_text())
        self.assertEqual([f"restored from config.bak-{STAMP}"], self.outcomes())

    def test_changed(self) -> None:
        """A file that somebody has changed since stays, and is not in the record any more."""
        self.record.write(PATH, "ours")
        self.put("ours and theirs")
        self.assertEqual(["kept: it has changed since setup wrote it"], self.outcomes())
        self.assertEqual("ours and theirs", self.file.read_text())
        self.assertFalse(self.recorded.exists())

    def test_changed_and_written_again(self) -> None:
        """A change that setup has replaced is what is restored."""
        self.record.write(PATH, "ours")
        self.put("theirs")
        self.record.write(PATH, "ours again")
        self.outcomes()
        self.assertEqual("theirs", self.file.read_text())

    def test_before(self) -> None:
        """What was there before setup came can be read; a file that has changed since is as it is."""
        self.assertIsNone(self.record.before(PATH))
        self.put("theirs")
        self.assertEqual(b"theirs", self.record.before(PATH))
        self.record.write(PATH, "ours")
        self.assertEqual(b"theirs", self.record.before(PATH))
        self.put("ours and theirs")
        self.assertEqual(b"ours and theirs", self.record.before(PATH))

    def test_nothing_before(self) -> None:
        """Where there was nothing, nothing is read; without its backup a file is as it is."""
        self.record.write(PATH, "ours")
        self.assertIsNone(self.record.before(PATH))
        self.put("theirs")
        self.record.write(PATH, "ours")
        (self.file.parent / f"config.bak-{STAMP}").unlink()
        self.assertEqual(b"ours", self.record.before(PATH))

    def test_not_ours(self) -> None:
        """A file that was right before setup came is not setup's, and stays."""
        self.put("right")
        self.assertFalse(self.record.write(PATH, "right").changed)
        self.assertEqual([], self.outcomes())
        self.assertTrue(self.file.exists())

    def test_gone(self) -> None:
        """A file that is gone already is no problem."""
        self.record.write(PATH, "ours")
        self.file.unlink()
        self.assertEqual(["already removed"], self.outcomes())

    def test_backup_gone(self) -> None:
        """Without its backup a file stays, and so does the record."""
        self.put("theirs")
        self.record.write(PATH, "ours")
        (self.file.parent / f"config.bak-{STAMP}").unlink()
        error = self.assertRaises(Unusable, list, self.record.undo())
        self.assertEqual(f"/etc/client/config.bak-{STAMP}", error.path)
        self.assertEqual("No such file or directory", error.reason)
        self.assertEqual("ours", self.file.read_text())
        self.assertTrue(self.recorded.exists())

    def test_next_time(self) -> None:
        """The record outlives the process that has written it."""
        self.record.write(PATH, "ours")
        again = RecordedTree(str(self.root), "client", lambda: NOW)
        self.assertEqual(["removed"], [each.outcome for each in again.undo()])

    def test_records_of_clients(self) -> None:
        """Each client has a record of its own."""
        self.record.write(PATH, "ours")
        self.assertEqual([], list(RecordedTree(str(self.root), "other").undo()))
        self.assertTrue(self.file.exists())

    def test_broken_record(self) -> None:
        """What is no record, or leads out of the directory, is refused, and nothing is removed."""
        right = {"sha256": "", "backup": None}
        for document in (
            "[]",
            "{",
            "[" * 100_000,
            json.dumps({PATH: None}),
            json.dumps({PATH: {"sha256": 1}}),
            json.dumps({"/etc/../../outside": right}),
            json.dumps({"etc/client": right}),
            json.dumps({"/": right}),
            json.dumps({PATH: {"sha256": "", "backup": "../config"}}),
            json.dumps({PATH: {"sha256": "", "backup": ".."}}),
        ):
            self.recorded.parent.mkdir(parents=True, exist_ok=True)
            self.recorded.write_text(document)
            before = self.everything()
            error = self.assertRaises(Unusable, list, self.record.undo())
            self.assertEqual("is not a record written by setup", error.reason)
            self.assertRaises(Unusable, self.record.write, PATH, "ours")
            self.assertEqual(before, self.everything())
