"""Files that the configuration names."""

from __future__ import annotations

from oci_registry.config.files import MAX_FILE_SIZE, read_file

from .support import SECRET, ConfigTestCase


class Reading(ConfigTestCase):
    """read_file."""

    def test_content_and_mode(self) -> None:
        """The bytes come with the permissions, and stay out of repr."""
        content = read_file(self.write("a", SECRET, 0o640))
        self.assertEqual(content.data, SECRET.encode())
        self.assertEqual(content.mode, 0o640)
        self.assertTrue(content.exposed)
        self.assertNotIn(SECRET, repr(content))

    def test_private(self) -> None:
        """A file for its owner alone is not exposed."""
        self.assertFalse(read_file(self.write("a", "", 0o600)).exposed)
        self.assertFalse(read_file(self.write("b", "", 0o400)).exposed)

    def test_largest(self) -> None:
        """A file of exactly the limit is read; one byte more is refused."""
        self.assertEqual(len(read_file(self.write("a", b"x" * MAX_FILE_SIZE)).data), MAX_FILE_SIZE)
        error = self.assertRaises(
            ValueError, read_file, self.write("b", b"x" * MAX_FILE_SIZE + b"x")
        )
        self.assertIn("longer than", str(error))

    def test_unreadable(self) -> None:
        """What is no file is refused with the system's own reason."""
        for path, reason in {
            "": "empty",
            str(self.directory): "Is a directory",
            str(self.directory / "missing"): "No such file",
            self.write("file", "") + "/below": "Not a directory",
            "a\0b": "not the name of a file",
            "x" * 5000: "too long",
        }.items():
            error = self.assertRaises(ValueError, read_file, path)
            self.assertIn(reason, str(error))
