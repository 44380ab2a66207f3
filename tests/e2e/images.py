"""Images made of nothing but this file and a static busybox, and their way into a registry."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import platform
import tarfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from random import Random

from attrs import frozen

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
_TYPES = {
    OCI_MANIFEST: (
        "application/vnd.oci.image.config.v1+json",
        "application/vnd.oci.image.layer.v1.tar+gzip",
    ),
    DOCKER_MANIFEST: (
        "application/vnd.docker.container.image.v1+json",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
    ),
}
BUSYBOX = Path("/bin/busybox")
#: What this machine runs, and another platform that it does not.
HERE, ELSEWHERE = ("arm64", "amd64") if platform.machine() == "aarch64" else ("amd64", "arm64")


@frozen
class Image:
    """An image as clients name it, and all that belongs to it.

    ``contents`` are the digests of its manifests, configurations and layers, for all platforms.
    """

    host: str
    repository: str
    digest: str
    contents: frozenset[str]
    tag: str = "1"

    @property
    def name(self) -> str:
        """Return host and repository."""
        return f"{self.host}/{self.repository}"

    @property
    def tagged(self) -> str:
        """Return the image's name by tag."""
        return f"{self.name}:{self.tag}"

    @property
    def pinned(self) -> str:
        """Return the image's name by digest."""
        return f"{self.name}@{self.digest}"


def digest_of(data: bytes) -> str:
    """Return the sha256 digest of *data*."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _layer(files: dict[str, bytes]) -> tuple[bytes, str]:
    """Return a compressed layer with *files* and the digest of its uncompressed form."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o755
            archive.addfile(entry, io.BytesIO(data))
    return gzip.compress(plain.getvalue(), 1, mtime=0), digest_of(plain.getvalue())


class Pusher:
    """Puts images into an open registry, and knows what it holds."""

    def __init__(self, registry: str) -> None:
        self._url = f"http://{registry}/v2"

    def _send(self, method: str, url: str, data: bytes, media_type: str) -> str:
        request = urllib.request.Request(url, data, {"Content-Type": media_type}, method=method)
        with urllib.request.urlopen(request) as response:
            return str(response.headers.get("Location", ""))

    def find(self, host: str, repository: str, tag: str = "1") -> Image:
        """Return what a tag of the registry stands for, as an image of *host*."""
        digest = digest_of(self._manifest(repository, tag))
        return Image(host, repository, digest, frozenset(self._walk(repository, digest)), tag)

    def _manifest(self, repository: str, reference: str) -> bytes:
        url = f"{self._url}/{repository}/manifests/{reference}"
        accept = ", ".join((OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST))
        with urllib.request.urlopen(urllib.request.Request(url, headers={"Accept": accept})) as got:
            raw: bytes = got.read()
            return raw

    def _walk(self, repository: str, digest: str) -> Iterator[str]:
        yield digest
        document = json.loads(self._manifest(repository, digest))
        for child in document.get("manifests", ()):
            yield from self._walk(repository, child["digest"])
        if "config" in document:
            yield from (part["digest"] for part in (document["config"], *document["layers"]))

    def blob(self, repository: str, data: bytes) -> str:
        """Push a blob; return its digest."""
        place = self._send("POST", f"{self._url}/{repository}/blobs/uploads/", b"", "a/b")
        joint = "&" if "?" in place else "?"
        digest = digest_of(data)
        self._send("PUT", f"{place}{joint}digest={digest}", data, "application/octet-stream")
        return digest

    def manifest(self, repository: str, reference: str | None, document: object) -> str:
        """Push a manifest or an index under a tag or its digest; return its digest."""
        raw = json.dumps(document, indent=3).encode()
        media_type = str(document["mediaType"])  # type: ignore[index]
        url = f"{self._url}/{repository}/manifests/{reference or digest_of(raw)}"
        self._send("PUT", url, raw, media_type)
        return digest_of(raw)

    def image(
        self,
        repository: str,
        tag: str | None,
        media_type: str,
        arch: str = HERE,
        layers: int = 3,
        size: int = 300_000,
    ) -> dict[str, object]:
        """Push an image with a busybox and layers of noise; return its descriptor."""
        config_type, layer_type = _TYPES[media_type]
        noise = Random(f"{repository}{arch}")
        made = [_layer({"bin/busybox": BUSYBOX.read_bytes(), "etc/arch": f"{arch}\n".encode()})]
        made += [_layer({f"noise{n}": noise.randbytes(size)}) for n in range(layers - 1)]
        config = json.dumps(
            {
                "architecture": arch,
                "os": "linux",
                "config": {"Cmd": ["/bin/busybox", "sh"]},
                "rootfs": {"type": "layers", "diff_ids": [diff for _, diff in made]},
            }
        ).encode()
        self.blob(repository, config)
        document = {
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": {
                "mediaType": config_type,
                "digest": digest_of(config),
                "size": len(config),
            },
            "layers": [
                {"mediaType": layer_type, "digest": self.blob(repository, data), "size": len(data)}
                for data, _ in made
            ],
        }
        digest = self.manifest(repository, tag, document)
        return {
            "mediaType": media_type,
            "digest": digest,
            "size": len(json.dumps(document, indent=3)),
            "platform": {"architecture": arch, "os": "linux"},
        }

    def index(self, repository: str, tag: str, media_type: str, image_type: str) -> str:
        """Push an image for two platforms; return the digest of its index."""
        manifests = [self.image(repository, None, image_type, arch) for arch in (HERE, ELSEWHERE)]
        document = {"schemaVersion": 2, "mediaType": media_type, "manifests": manifests}
        return self.manifest(repository, tag, document)

    def referrer(self, repository: str, subject: dict[str, object]) -> str:
        """Push an artifact that refers to *subject*, and the tag that stands in for the API."""
        empty = b"{}"
        self.blob(repository, empty)
        nothing = {
            "mediaType": "application/vnd.oci.empty.v1+json",
            "digest": digest_of(empty),
            "size": len(empty),
        }
        plain = {key: subject[key] for key in ("mediaType", "digest", "size")}
        artifact = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": "application/vnd.example.signature",
            "config": nothing,
            "layers": [nothing],
            "subject": plain,
        }
        digest = self.manifest(repository, None, artifact)
        index = {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [
                {
                    "mediaType": OCI_MANIFEST,
                    "digest": digest,
                    "size": len(json.dumps(artifact, indent=3)),
                    "artifactType": artifact["artifactType"],
                }
            ],
        }
        self.manifest(repository, str(subject["digest"]).replace(":", "-"), index)
        return digest
