"""Stores with images in them, bundles that are right or not, and the commands on both."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from io import StringIO
from pathlib import Path

from attrs import frozen

from oci_registry.commands.main import run
from oci_registry.commands.store import CommandStore
from oci_registry.config.settings import FilesystemSettings
from oci_registry.spec.digest import Digest
from oci_registry.spec.image import parse_image
from oci_registry.spec.manifest import Manifest
from oci_registry.spec.mediatypes import OCI_INDEX, OCI_MANIFEST
from oci_registry.storage.tags import TagRecord

LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYOUT = b'{"imageLayoutVersion":"1.0.0"}'


@frozen
class Ran:
    """What a command has printed, and its exit status."""

    status: int
    out: str
    err: str


def command(name: str, *args: object, **environ: str) -> Ran:
    """Run a command."""
    out, err = StringIO(), StringIO()
    status = run(name, [str(arg) for arg in args], environ, out, err)
    return Ran(status, out.getvalue(), err.getvalue())


def store_in(root: Path) -> CommandStore:
    """Return the store in a directory, ready for writing."""
    store = CommandStore.open(FilesystemSettings(str(root.absolute())))
    store.start()
    return store


def layer_of(text: str) -> bytes:
    """Return a layer that clients can unpack."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        info = tarfile.TarInfo("file")
        info.size = len(text)
        tar.addfile(info, io.BytesIO(text.encode()))
    return gzip.compress(packed.getvalue(), mtime=0)


def image_parts(text: str, platform: str) -> tuple[bytes, dict[Digest, bytes]]:
    """Return the manifest of an image for a platform, and its blobs."""
    system, architecture = platform.split("/")
    layer = layer_of(text + platform)
    unpacked = hashlib.sha256(gzip.decompress(layer)).hexdigest()
    config = json.dumps(
        {
            "os": system,
            "architecture": architecture,
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{unpacked}"]},
        }
    ).encode()
    blobs = {Digest.of(data): data for data in (config, layer)}
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": described(config, CONFIG),
        "layers": [described(layer, LAYER)],
    }
    return json.dumps(document).encode(), blobs


def described(data: bytes, media_type: str) -> dict[str, object]:
    """Return the descriptor of some content."""
    return {"mediaType": media_type, "digest": str(Digest.of(data)), "size": len(data)}


def index_of(manifests: Mapping[str, bytes]) -> bytes:
    """Return an index of the manifests of some platforms."""
    entries = []
    for platform, raw in manifests.items():
        system, architecture = platform.split("/")
        of = {"os": system, "architecture": architecture}
        entries.append({**described(raw, OCI_MANIFEST), "platform": of})
    value = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    return json.dumps(value).encode()


def add_image(
    store: CommandStore,
    name: str,
    *platforms: str,
    without: tuple[str, ...] = (),
    checked: float = 1_000_000.0,
) -> Manifest:
    """Store an image: an index with these platforms, of which some are not stored themselves."""
    image = parse_image(name)
    manifests = {}
    for platform in platforms or ("linux/amd64",):
        raw, blobs = image_parts(name, platform)
        manifests[platform] = raw
        if platform in without:
            continue
        store.add_manifest(image.registry, Manifest.read(raw, OCI_MANIFEST), image.repository)
        for digest, data in blobs.items():
            store.add_blob(digest, len(data), iter([data]))
    raw = index_of(manifests) if platforms else manifests["linux/amd64"]
    top = Manifest.read(raw, OCI_INDEX if platforms else OCI_MANIFEST)
    store.add_manifest(image.registry, top, image.repository)
    store.add_tag(image, TagRecord(top.digest, top.media_type, checked))
    return top


def bundle_of(
    *tops: bytes,
    blobs: Mapping[Digest, bytes],
    annotations: Mapping[str, str] | None = None,
) -> dict[str, bytes]:
    """Return the files of a bundle with these manifests and blobs, by name."""
    named = {"io.containerd.image.name": "docker.io/library/x:1"}
    notes = named if annotations is None else dict(annotations)
    entries = []
    for raw in tops:
        kind = OCI_INDEX if b'"manifests"' in raw else OCI_MANIFEST
        entries.append({**described(raw, kind), "annotations": notes})
    content = {Digest.of(raw): raw for raw in tops} | dict(blobs)
    index = json.dumps({"schemaVersion": 2, "manifests": entries}).encode()
    files = {f"blobs/{d.algorithm}/{d.encoded}": data for d, data in content.items()}
    return {"oci-layout": LAYOUT, "index.json": index, **files}


def write_tar(path: Path, files: Mapping[str, bytes], *others: tarfile.TarInfo) -> Path:
    """Write a tar archive of files, and of *others*, which have no content."""
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for info in others:
            tar.addfile(info)
    return path


def tree(root: Path) -> dict[str, bytes]:
    """Return the files of a store, without its lock."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and path.name != "lock"
    }
