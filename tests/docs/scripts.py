"""The scripts of the pages, and a machine with what they expect to be there."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from twisted.trial.unittest import SkipTest, TestCase

from oci_registry.spec.digest import Digest
from oci_registry.spec.mediatypes import OCI_MANIFEST
from oci_registry.storage.tags import TagRecord
from tests.docs.blocks import ROOT, Block, shown_blocks
from tests.docs.machine import Machine, blob_path
from tests.docs.shown import SCRIPTS, How
from tests.docs.test_blocks import SCRIPT_LANGUAGES, is_upstream_file, write_upstream_file
from tests.support.bundles import add_image, add_moved_tag, command, store_in
from tests.support.certificates import Certified

BLOB = b"a blob of the store"
_ASKED = ("curl", "jq", "openssl", "rsync", "tar")
_UPSTREAMS = re.compile(r"--upstream-config-file (\S+)")


def scripts(how: How) -> list[Block]:
    """Return the scripts of which that is said."""
    return [
        block
        for page, told in SCRIPTS.items()
        for (_, said), block in zip(told, shown_blocks(*SCRIPT_LANGUAGES, page=page), strict=True)
        if said is how
    ]


def upstreams_above(block: Block) -> str:
    """Return the upstream file that a page shows last before a script, else the example."""
    shown = [
        each.text
        for each in shown_blocks("yaml", page=block.page)
        if each.line < block.line and is_upstream_file(each)
    ]
    return shown[-1] if shown else (ROOT / "example.yaml").read_text("utf-8")


class Scripts(TestCase):
    """A machine with what scripts expect to be there."""

    timeout = 90

    def setUp(self) -> None:
        if shutil.which("curl") is None:
            raise SkipTest("curl is not installed")

    def need(self, block: Block) -> None:
        """Skip a script that needs a program which is not there."""
        for program in _ASKED:
            if re.search(rf"\b{program} ", block.text) and shutil.which(program) is None:
                raise SkipTest(f"{program} is not installed")

    def prepare(self, block: Block, **environment: str) -> Machine:
        """Return a machine with the files that a script names."""
        machine = Machine.new(Path(self.mktemp()).absolute(), **environment)
        for name in _UPSTREAMS.findall(block.text):
            file = machine.place(name) if name.startswith("/") else machine.root / name
            write_upstream_file(upstreams_above(block), file)
        certified = Certified("localhost")
        for folder in (machine.root, machine.place("/etc/oci-registry")):
            folder.mkdir(parents=True, exist_ok=True)
            if "openssl" not in block.text:
                (folder / "tls.crt").write_bytes(certified.certificate)
                (folder / "tls.key").write_bytes(certified.key)
        ca = machine.place("/etc/ssl/example-ca.pem")
        ca.parent.mkdir(parents=True)
        ca.write_bytes(certified.certificate)
        for store in ("/var/lib/oci-registry", "ROOT", "warm", "/media/disk/images"):
            blob = machine.place(store) / blob_path(BLOB)
            blob.parent.mkdir(parents=True)
            blob.write_bytes(BLOB)
            blob.chmod(0o444)
            tag = machine.place(store) / "repositories/docker.io/library/busybox/_tags/latest"
            tag.parent.mkdir(parents=True)
            tag.write_bytes(TagRecord(Digest.of(BLOB), OCI_MANIFEST, 1.0).to_json())
        if re.search("oci-registry (history|hold|rollback) ", block.text):
            add_moved_tag(store_in(machine.place("/var/lib/oci-registry")))
        if re.search("oci-registry (export|import|warm) ", block.text):
            filled = store_in(machine.place("warm"))
            add_image(filled, "docker.io/library/busybox:latest", "linux/amd64", "linux/arm64")
            (machine.root / "images.txt").write_text("docker.io/library/busybox:latest\n", "ascii")
            bundle = machine.root / "images.tar"
            made = command("export", "busybox", "-o", bundle, "--root", machine.place("warm"))
            assert made.status == 0, made.err
        if re.search("oci-registry (du|ls|show|why|rm|refresh|pin) ", block.text):
            kept = store_in(machine.place("/var/lib/oci-registry"))
            add_image(kept, "docker.io/library/busybox:latest", "linux/amd64")
        return machine
