"""What the command warm is given, and how it does many things at once."""

from __future__ import annotations

import io
import json
import os
import stat
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.commands.image_lists import from_kubernetes, images_of_pods, read_list
from oci_registry.commands.mirror import Answer, Mirror
from oci_registry.commands.parallel import in_parallel
from oci_registry.commands.problems import CommandFailed, UsageProblem
from oci_registry.commands.warm_daemon import in_parts
from tests.support.bundles import command

PODS = {
    "kind": "List",
    "items": [
        {
            "spec": {
                "initContainers": [{"image": "quay.io/a/init:1"}],
                "containers": [{"image": "x:1"}, {"image": "y@sha256:" + "0" * 64}, {"image": 7}],
                "ephemeralContainers": None,
            }
        },
        {"spec": {"template": {"spec": {"containers": [{"image": "z"}, {"image": "x:1"}]}}}},
        {"spec": None},
        7,
    ],
}


class Lists(SynchronousTestCase):
    """Lists of images."""

    def test_pods(self) -> None:
        """The images of all containers of pods, each once."""
        found = images_of_pods(json.dumps(PODS), "pods")
        self.assertEqual(["quay.io/a/init:1", "x:1", "y@sha256:" + "0" * 64, "z"], found)
        one = {"spec": {"containers": [{"image": "x:1"}]}}
        self.assertEqual(["x:1"], images_of_pods(json.dumps(one), "pod"))

    def test_no_pods(self) -> None:
        """Anything else is an error that names the list."""
        for text in ("{", "[]", '{"items": 7}', "[" * 100_000):
            error = self.assertRaises(CommandFailed, images_of_pods, text, "pods.json")
            self.assertIn("pods.json: it is not", str(error))

    def test_standard_input(self) -> None:
        """Standard input has lines, or pods."""
        self.assertEqual(["a", "b"], read_list("-", io.StringIO("a # one\n#\n\n b \n")))
        self.assertEqual(4, len(read_list("-", io.StringIO(f"\n {json.dumps(PODS)}"))))

    def test_no_text(self) -> None:
        """A file that is not text is an error."""
        path = Path(self.mktemp())
        path.write_bytes(b"\xff\xfe")
        self.assertIn("it is not text", str(self.assertRaises(CommandFailed, read_list, str(path))))

    def test_kubectl(self) -> None:
        """kubectl is asked for all pods; if it is not there, or fails, that is said."""
        folder = Path(self.mktemp())
        folder.mkdir()
        self.patch(os, "environ", {**os.environ, "PATH": str(folder.absolute())})
        self.assertIn("needs kubectl", str(self.assertRaises(CommandFailed, from_kubernetes)))
        program = folder / "kubectl"
        program.write_text(f"#!/bin/sh\n[ $# = 5 ] && echo '{json.dumps(PODS)}'\n")
        program.chmod(stat.S_IRWXU)
        self.assertEqual(4, len(from_kubernetes()))
        program.write_text("#!/bin/sh\necho 'no configuration' >&2\nexit 1\n")
        error = str(self.assertRaises(CommandFailed, from_kubernetes))
        self.assertEqual("kubectl: no configuration", error)


class Usage(SynchronousTestCase):
    """Command lines."""

    def test_wrong(self) -> None:
        """A command line that cannot be used has the status 2, and asks nobody."""
        url = ("--url", "http://127.0.0.1:1")
        for args, said in (
            (("x",), "--url"),
            (url, "name images"),
            ((*url, "x:::"), "not a tag"),
            ((*url, "x", "--jobs", "0"), "--jobs"),
            ((*url, "x", "--jobs", "many"), "--jobs"),
            ((*url, "x", "--platform", "linux"), "--platform"),
            ((*url, "x", "--default-namespace", "/"), "default-namespace"),
            (("x", "--url", "mirror:8080"), "http://mirror.example:8080"),
            (("x", "--url", "http://u:secret@mirror"), "user name"),
            (("x", "--url", "http://mirror:99999"), "--url"),
            ((*url, "x", "--root", "/srv"), "give no store"),
            ((*url, "x", "--admin", "http://127.0.0.1:1"), "both name a daemon"),
            ((*url, "x", "--admin-token-file", "t"), "--admin-token-file is for --admin"),
            (("x", "--root", "/srv", "--ca-file", "c"), "--ca-file is for --url"),
            ((*url, "--cancel"), "--cancel needs the admin API"),
            (("x", "--root", "/srv", "--cancel"), "--cancel is given alone"),
        ):
            ran = command("warm", *args)
            self.assertEqual((2, ""), (ran.status, ran.out), args)
            self.assertIn(said, ran.err)
            self.assertNotIn("secret", ran.err)

    def test_certificates(self) -> None:
        """A file of certificates must have some."""
        path = Path(self.mktemp())
        path.write_text("none")
        ran = command("warm", "x", "--url", "https://127.0.0.1:1", "--ca-file", path)
        self.assertEqual(2, ran.status)

    def test_unreachable(self) -> None:
        """A daemon that cannot be reached has the status 1."""
        ran = command("warm", "x", "--url", "http://127.0.0.1:1")
        self.assertEqual(1, ran.status)
        self.assertIn("connection refused", ran.err)


class Answers(SynchronousTestCase):
    """Answer, Mirror."""

    def test_reason(self) -> None:
        """The reason is the message of the error, whatever else the body is."""
        body = b'{"errors":[{"message":"no such tag"}]}'
        self.assertEqual("no such tag", Answer(404, {}, body).reason)
        for wrong in (b"", b"{}", b'{"errors":[]}', b"[" * 100_000, b'{"errors":[7]}'):
            self.assertIn("404", Answer(404, {}, wrong).reason)

    def test_url(self) -> None:
        """A URL without a host is refused."""
        for url in ("http://", "ftp://x", "http://x?y"):
            self.assertRaises(UsageProblem, Mirror, url)


class Parallel(SynchronousTestCase):
    """in_parallel."""

    def test_results(self) -> None:
        """Each item comes with its result, or with its error."""
        found = dict(in_parallel(3, [1, 2, 0], lambda number: 10 // number))
        self.assertEqual((10, 5), (found[1], found[2]))
        self.assertIsInstance(found[0], ZeroDivisionError)
        self.assertEqual([], list(in_parallel(3, [], len)))

    def test_closed(self) -> None:
        """After it is closed, nothing more is begun."""
        seen: list[int] = []

        def work(number: int) -> None:
            seen.append(number)

        results = in_parallel(1, list(range(100_000)), work)
        next(results)
        results.close()  # type: ignore[attr-defined]
        self.assertLess(len(seen), 100_000)


class Parts(SynchronousTestCase):
    """in_parts."""

    @given(st.lists(st.text(max_size=60), max_size=60))
    def test_parts(self, names: list[str]) -> None:
        """Nothing is lost, and each part is small enough."""
        parts = list(in_parts(names, 7, 200))
        self.assertEqual(names, [name for part in parts for name in part])
        for part in parts:
            self.assertLessEqual(len(part), 7)
            self.assertTrue(len(part) == 1 or len(json.dumps(part)) <= 202, part)
