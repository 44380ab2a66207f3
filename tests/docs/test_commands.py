"""The scripts of the pages do what they are for."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from twisted.internet.defer import Deferred

from oci_registry.setup.clients import CLIENTS
from oci_registry.spec.digest import Digest
from tests.docs.blocks import Block, shown_blocks
from tests.docs.machine import LAYER, Done, Machine, blob_path, busybox, upstream_file
from tests.docs.scripts import BLOB, Scripts, scripts
from tests.docs.shown import How
from tests.support import s3
from tests.support.client import Client
from tests.support.daemon import reactor, running, until
from tests.support.process import DaemonProcess

# With what curl asks at the first place where a daemon listens.
_ASKING = {None: "http", "ssl": "--insecure https", "haproxy": "--haproxy-protocol http"}


class Daemons(Scripts):
    """Scripts that end in a daemon."""

    async def check(self, block: Block) -> None:
        """Start it, ask it what every registry is asked, and stop it by Ctrl-C."""
        environment = {}
        script = block.text
        if re.search(r"\bs3\b", script):
            # The same bucket for all, on a server that takes any keys.
            bucket = s3.new_bucket(self.mktemp())
            script = script.replace("https://s3.example.com", bucket.endpoint or "")
            script = script.replace("--bucket oci-registry", f"--bucket {bucket.bucket}")
            # There is no proxy here that would pass requests on.
            script = script.replace("S3_PROXY=http://proxy.example.com:3128", "S3_PROXY=none")
            environment = {
                "S3_HOST": bucket.endpoint or "",
                "S3_ACCESS_KEY": bucket.access_key or "",
                "S3_SECRET_KEY": bucket.secret_key or "",
            }
        machine = self.prepare(block, **environment)
        terminal = machine.start(machine.adapted(script))
        self.addCleanup(terminal.end)
        port = await terminal.listening
        await until(lambda: b"storing in" in terminal.output)
        first = re.search(r"--listen (ssl|haproxy)?", script)
        asking = _ASKING[first and first[1]]
        done = await machine.run(f"curl -sS {asking}://127.0.0.1:{port}/v2/")
        self.assertEqual(("{}", 0), (done.output, done.status), f"{block.where}: {done}")
        await terminal.interrupt()
        said = terminal.output.decode()
        for level in (" error ", " critical ", "Traceback"):
            self.assertNotIn(level, said, block.where)


class Commands(Scripts):
    """Scripts that end by themselves, beside a mirror that has a little to tell."""

    async def check(self, block: Block) -> None:
        """Run it to its end and look at what has come of it."""
        self.need(block)
        machine = self.prepare(block)
        registry = busybox()
        self.addCleanup(lambda: Deferred.fromCoroutine(registry.stop()))
        # Programs read the access log as JSON. All other lines are text, as in a daemon without options.
        as_json = "jq" in block.text
        options = ("--access-log", "json") if as_json else ()
        daemon = DaemonProcess(reactor, machine.root / "cache", upstream_file(registry), *options)
        self.addCleanup(daemon.end)
        port = await daemon.listening
        client = Client(reactor, port)
        for name in ("latest", "latest", "none"):
            await client.get(f"/v2/library/busybox/manifests/{name}")
        client.close()
        response = b'"access"' if as_json else b' "GET /v2/'
        await until(lambda: daemon.output.count(response) == 3)
        log = machine.root / "access.log"
        log.write_bytes(daemon.output)
        self.stand_in(machine, "journalctl", f"cat {log}")
        self.stand_in(machine, "kubectl", "echo 10.96.0.80")
        self.stand_in(machine, "docker", 'echo "$@"')
        # The user of the daemon is not there.
        self.stand_in(machine, "chown", "true")
        # A script that starts something leaves it to its terminal, which ends here.
        script = f"exec <{log}; trap 'for job in $(jobs -p); do kill $job; done' EXIT\n{block.text}"
        done = await machine.run(machine.adapted(script, port))
        self.assertEqual(0, done.status, f"{block.where}: {done}")
        outcome = [check for title, check in _OUTCOMES.items() if block.title.startswith(title)]
        self.assertEqual(1, len(outcome), f"{block.where}: what shall come of it?")
        outcome[0](self, block, machine, done)
        await daemon.kill("TERM")

    def stand_in(self, machine: Machine, name: str, script: str) -> None:
        """Put a program there which cannot be had."""
        program = machine.root / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\n{script}\n", "utf-8")
        program.chmod(0o755)

    def set_up(self, block: Block, machine: Machine, done: Done) -> None:
        """The client has a file of ours, in the place where it looks."""
        made = {
            str(p)
            for folder in ("buildkit", "containers", "containerd", "docker", "rancher")
            for p in machine.place(f"/etc/{folder}").rglob("*.*")
            if p.is_file()
        }
        self.assertTrue(made, block.where)
        self.assertEqual(set(re.findall(r"^(/.*): written$", done.output, re.M)), made)

    def checked(self, block: Block, machine: Machine, done: Done) -> None:
        """The mirror is found, and provides the image."""
        self.assertIn(" is oci-registry\n", done.errors)
        self.assertIn("pulled docker.io/library/busybox:latest: the manifest sha256:", done.errors)

    def copied(self, block: Block, machine: Machine, done: Done) -> None:
        """The blob is there as it was, its mode with it."""
        copy = machine.place(block.text.split()[-1]) / blob_path(BLOB)
        self.assertEqual((BLOB, 0o444), (copy.read_bytes(), copy.stat().st_mode & 0o777))

    def exported(self, block: Block, machine: Machine, done: Done) -> None:
        """The bundle has the image, and not what the earlier one has."""
        self.assertIn("docker.io/library/busybox:latest sha256:", done.output)
        with tarfile.open(machine.root / block.text.split("--output ")[1].split()[0]) as archive:
            blobs = [name for name in archive.getnames() if name.startswith("blobs/sha256/")]
        self.assertEqual(3 if "--since" in block.text else 7, len(blobs))

    def warmed(self, block: Block, machine: Machine, done: Done) -> None:
        """The image is stored, with its only layer."""
        self.assertIn("1 of 1 image stored completely", done.output)
        self.assertTrue((machine.place("cache") / blob_path(LAYER)).exists())

    def tag_shown(self, block: Block, machine: Machine, done: Done) -> None:
        """It is said what is served, and which digests there were."""
        self.assertRegex(done.output, "(?m)^serves sha256:")
        self.assertIn("first seen 1970-01-12T13:45:40Z", done.output)
        held = re.search(" (rollback|hold) ", block.text) is not None
        self.assertEqual(held, "held since" in done.output)

    def history(self, block: Block, machine: Machine, done: Done) -> None:
        """The daemon shows the history of the tag."""
        self.assertIn('"history": [{"digest": "sha256:', done.output)

    def scrubbed(self, block: Block, machine: Machine, done: Done) -> None:
        """Everything is right."""
        self.assertRegex(done.output, r"\A2 objects \(\d+ B\) checked, 0 corrupt")

    def imported(self, block: Block, machine: Machine, done: Done) -> None:
        """The tag is in the store."""
        tags = (
            machine.place("/var/lib/oci-registry") / "repositories/docker.io/library/busybox/_tags"
        )
        self.assertIn('"imported": true', (tags / "latest").read_text("ascii"))

    def looked_after(self, block: Block, machine: Machine, done: Done) -> None:
        """Each command finds the image."""
        lines = done.output.splitlines()
        named = [line for line in lines if line.startswith("docker.io/library/busybox")]
        self.assertGreaterEqual(len(named), len(block.text.splitlines()))
        self.assertEqual("", done.errors)

    def completed(self, block: Block, machine: Machine, done: Done) -> None:
        """It is a script of completions."""
        self.assertIn("complete ", (machine.root / block.text.split()[-1]).read_text("ascii"))

    def writable(self, block: Block, machine: Machine, done: Done) -> None:
        """The blob is one that will be hashed, and no other store's is."""
        stores = ("/var/lib/oci-registry", "ROOT", "warm")
        changed = {s for s in stores if (machine.place(s) / blob_path(BLOB)).stat().st_mode & 0o200}
        self.assertEqual({s for s in stores if s in block.text}, changed)

    def registry_answers(self, block: Block, machine: Machine, done: Done) -> None:
        """The registry says hello, and has the image."""
        self.assertTrue(done.output.startswith("{}HTTP/1.1 200"), done.output)
        self.assertIn("oci-namespace: docker.io", done.output.lower())
        self.assertIn("cache-status: oci-registry; hit; ttl=", done.output.lower())

    def image_through(self, block: Block, machine: Machine, done: Done) -> None:
        """Headers come through, the blob has its digest, and a part of it is one."""
        self.assertIn("docker-content-digest: sha256:", done.output.lower())
        digest = re.findall(r"^([0-9a-f]{64})  -$", done.output, re.M)
        self.assertEqual([Digest.of(LAYER).encoded], digest)
        self.assertRegex(done.output, r"HTTP/1.1 206[^\n]*\r\n(?s:.*)bytes 100-199/")

    def configuration(self, block: Block, machine: Machine, done: Done) -> None:
        """The configuration is shown, as YAML, and nothing listens or is made."""
        shown = yaml.safe_load(done.output)
        self.assertTrue(shown["upstream-config-file"])
        self.assertNotIn("hunter2", done.output)

    def logged(self, block: Block, machine: Machine, done: Done) -> None:
        """What is in the log is counted: a hit, a miss, and what was pulled in vain."""
        self.assertRegex(done.output, r"(?m)^ *1 docker.io hit$")
        self.assertRegex(
            done.output,
            r"(?m)^ *1 404 127.0.0.1 /v2/library/busybox/manifests/none MANIFEST_UNKNOWN: ",
        )

    def failed_lines(self, block: Block, machine: Machine, done: Done) -> None:
        """The line of the failed pull is shown, with its reason."""
        request = '"GET /v2/library/busybox/manifests/none" 404'
        line = rf'\A\S+ info 127.0.0.1 {request} .* error="MANIFEST_UNKNOWN: .*\n\Z'
        self.assertRegex(done.output, line)

    def failed_pulls(self, block: Block, machine: Machine, done: Done) -> None:
        """The failed pull is shown, with its reason."""
        failed = "404 docker.io /v2/library/busybox/manifests/none MANIFEST_UNKNOWN: upstream "
        self.assertTrue(done.output.startswith(failed), done.output)
        self.assertEqual(1, done.output.count("\n"))

    def first_look(self, block: Block, machine: Machine, done: Done) -> None:
        """The mirror is ready, has the image, and its store can be read."""
        self.assertTrue(done.output.startswith("ready\nHTTP/1.1 200"), done.output)
        self.assertIn("\noci_registry_store_readable 1.0\n", done.output)

    def pulled(self, block: Block, machine: Machine, done: Done) -> None:
        """Each request for the image is a line."""
        self.assertEqual(3, done.output.count("/v2/library/busybox/manifests/"), done.output)

    def from_the_store(self, block: Block, machine: Machine, done: Done) -> None:
        """The mirror says that this was a hit, and nothing else is shown."""
        self.assertRegex(done.output, r"(?i)\Acache-status: oci-registry; hit; ttl=\d+\s*\Z")

    def counters(self, block: Block, machine: Machine, done: Done) -> None:
        """The counters of the cache are there."""
        self.assertIn('manifest_cache_hits{namespace="docker.io"} 1.0', done.output)
        self.assertIn("oci_registry_client_bytes_total", done.output)

    def archived(self, block: Block, machine: Machine, done: Done) -> None:
        """The files of the configuration are in the archive."""
        with tarfile.open(machine.root / block.text.split()[-2]) as archive:
            self.assertIn("tls.crt", {Path(name).name for name in archive.getnames()})

    def unused(self, block: Block, machine: Machine, done: Done) -> None:
        """There is a line for each number of days."""
        days = re.findall(r"^ +0 MiB unused for more than (\d+) days$", done.output, re.M)
        self.assertEqual(["0", "3", "7", "14"], days)

    def budget(self, block: Block, machine: Machine, done: Done) -> None:
        """The metrics of the registry's budget of requests are there."""
        self.assertIn("oci_registry_upstream_ratelimit_remaining", done.output)

    def greeted(self, block: Block, machine: Machine, done: Done) -> None:
        """The registry says hello over TLS, with a certificate that is trusted."""
        self.assertIn("{}", done.output)

    def for_the_node(self, block: Block, machine: Machine, done: Done) -> None:
        """The files for the node are as they are shown, and are what is copied there."""
        (shown,) = shown_blocks("toml", page=block.page)
        made = machine.root / "nodes/etc/containerd/certs.d"
        self.assertEqual(shown.text, (made / "docker.io/hosts.toml").read_text("utf-8"))
        self.assertTrue((made / "_default/hosts.toml").is_file())
        self.assertIn("cp nodes/etc/containerd/certs.d kind-control-plane:", done.output)

    def nothing(self, block: Block, machine: Machine, done: Done) -> None:
        """Variables are set, and nothing is said."""
        self.assertEqual(("", ""), (done.output, done.errors))


Outcome = Callable[[Commands, Block, Machine, Done], None]

# By how a script begins.
_OUTCOMES: dict[str, Outcome] = {
    "oci-registry setup --check": Commands.checked,
    **{f"oci-registry setup {client}": Commands.set_up for client in CLIENTS},
    "rsync": Commands.copied,
    "oci-registry export": Commands.exported,
    "oci-registry import": Commands.imported,
    "oci-registry warm": Commands.warmed,
    **{
        f"oci-registry {name}": Commands.looked_after
        for name in ("ls", "du", "why", "rm", "refresh", "pin")
    },
    "oci-registry completion": Commands.completed,
    "oci-registry history": Commands.tag_shown,
    "oci-registry rollback": Commands.tag_shown,
    "oci-registry hold": Commands.tag_shown,
    "curl -s http://mirror.example:8080/v2": Commands.history,
    "oci-registry scrub": Commands.scrubbed,
    "chmod -R": Commands.writable,
    "curl --silent": Commands.budget,
    "curl http": Commands.registry_answers,
    "curl -sI https://mirror.example": Commands.image_through,
    "oci-registry --check-config": Commands.configuration,
    "journalctl --unit oci-registry --output cat >": Commands.logged,
    "journalctl --unit oci-registry --output cat | grep": Commands.failed_lines,
    "journalctl --unit oci-registry --output cat | \\": Commands.failed_pulls,
    "journalctl --unit oci-registry --output cat --since": Commands.pulled,
    "curl -s http://127.0.0.1:8080/readyz": Commands.first_look,
    "curl -sI 'http://mirror.example:8080/": Commands.from_the_store,
    "curl -s http://mirror.example:8080/metrics": Commands.counters,
    "tar": Commands.archived,
    "for days in": Commands.unused,
    "openssl": Commands.greeted,
    "address=": Commands.for_the_node,
    "export": Commands.nothing,
    "LOG_FORMAT=": Commands.nothing,
}


def _test(block: Block) -> Callable[[Any], Deferred[None]]:
    async def test(self: Any) -> None:
        await self.check(block)

    test.__doc__ = f"{block.where} does what it is for."
    return running(test)


def _add_tests(case: type[Daemons | Commands], how: How) -> None:
    for number, block in enumerate(scripts(how), 1):
        page = re.sub(r"\W+", "_", block.page.removesuffix(".md").lower())
        setattr(case, f"test_{number:02}_{page}", _test(block))


_add_tests(Daemons, How.DAEMON)
_add_tests(Commands, How.RUN)
