"""What is in the registries, who pulls it, and what has to hold."""

from __future__ import annotations

import json
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from shutil import which

from tests.e2e import buckets, ceph, configured, conformance, management
from tests.e2e.checks import Checks
from tests.e2e.clients import Client, Containerd, Containers, Dockerd, Podman, Skopeo, run
from tests.e2e.images import (
    DOCKER_LIST,
    DOCKER_MANIFEST,
    HERE,
    OCI_INDEX,
    OCI_MANIFEST,
    Image,
    Pusher,
)
from tests.e2e.servers import Mirror, Processes, Upstreams
from tests.e2e.token_server import PASSWORD

OPEN_HOSTS = ("docker.io", "gcr.io", "example.com")
PRIVATE_HOSTS = ("basic.example", "bearer.example", "ca.example", "any.example")


class Scenario:
    """One run against real registries; everything it starts is in *processes*."""

    def __init__(self, processes: Processes, checks: Checks) -> None:
        self.processes, self.checks = processes, checks
        self.upstreams = Upstreams(processes)
        self.mirror = Mirror(processes, self.upstreams)
        self.images: list[Image] = []
        hosts = (*OPEN_HOSTS, *PRIVATE_HOSTS, management.AGED)
        work, address = processes.work, self.mirror.address
        shared = Containers.written(work, address, hosts)
        self.skopeo = Skopeo(work, shared)
        self.containerd = Containerd(processes, Containerd.written(work, address, hosts))
        self.clients: list[Client] = [self.skopeo, self.containerd, Dockerd(address)]
        if which("podman"):
            self.clients.append(Podman(work, shared))
        else:
            checks.skip("podman", "it is not installed")

    def play(self) -> None:
        """Do everything."""
        self.upstreams.start()
        self.push()
        for client in self.clients:
            self.three_times(client, *self._folder(f"cache-{client.name.split()[0]}"))
        self.one_for_all()
        self.set_up()
        self.refusals()
        self.management()
        self.conformance()
        self.buckets()
        self.checks.check("the daemons' logs are clean", self._clean)

    def push(self) -> None:
        """Fill the registries, which share their files."""
        pusher = Pusher(self.upstreams.host("open"))
        pusher.image("library/oci", "1", OCI_MANIFEST)
        pusher.image("library/schema2", "1", DOCKER_MANIFEST)
        pusher.index("library/index", "1", OCI_INDEX, OCI_MANIFEST)
        pusher.index("library/list", "1", DOCKER_LIST, DOCKER_MANIFEST)
        pusher.index("team/list", "1", DOCKER_LIST, DOCKER_MANIFEST)
        pusher.image("team/sub/many", "1", OCI_MANIFEST, layers=12, size=2_000_000)
        pusher.index("private/app", "1", OCI_INDEX, OCI_MANIFEST)
        host = self.upstreams.host("open")
        run(
            *("skopeo", "--insecure-policy", "copy", "-q", "--format", "oci"),
            *("--src-tls-verify=false", "--dest-tls-verify=false"),
            *("--dest-compress", "--dest-compress-format", "zstd"),
            *(f"docker://{host}/library/oci:1", f"docker://{host}/library/zstd:1"),
        )
        for name in ("oci", "schema2", "index", "list", "zstd"):
            self.images.append(pusher.find("docker.io", f"library/{name}"))
        self.images.append(pusher.find("gcr.io", "team/list"))
        self.images.append(pusher.find("example.com", "team/sub/many"))
        self.images += [pusher.find(host, "private/app") for host in PRIVATE_HOSTS]
        self.checks.check("there are layers of zstd", self._has_zstd, host)

    def _has_zstd(self, host: str) -> None:
        document = run(
            "skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{host}/library/zstd:1"
        )
        assert all("zstd" in layer["mediaType"] for layer in json.loads(document)["layers"]), (
            document
        )

    def _folder(self, root: str) -> tuple[str, ...]:
        """Return the storage in the directory *root* of the run."""
        return ("filesystem", "--root", str(self.processes.work / root))

    def three_times(self, client: Client, *storage: str) -> None:
        """Pull with nothing in the cache, from the cache, and after a restart with no upstream."""
        check, name = self.checks.check, f"{client.name}, {storage[0]}"
        self.mirror.start(*storage)
        self._pull_all(client, f"{storage[0]}, cold", self.images)
        # The cache has what it needs only once the last blob is published.
        self._settle()
        before = self.upstreams.requests()
        self._pull_all(client, f"{storage[0]}, warm", self.images)
        check(f"{name}: the second pull asked no upstream", self._unasked, before)
        check(f"{name}: the daemon stops in order", self._stop)
        self.upstreams.stop()
        self.mirror.start(*storage)
        self._pull_all(client, f"{storage[0]}, restarted, every upstream down", self.images)
        check(f"{name}: the daemon stops in order again", self._stop)
        self.upstreams.start()

    def one_for_all(self) -> None:
        """Let all pull what skopeo left in its cache, and nobody else can give."""
        self.upstreams.stop()
        self.mirror.start(*self._folder("cache-skopeo"))
        for client in self.clients[1:]:
            self._pull_all(client, "what skopeo had pulled, every upstream down", self.images)
        self.checks.check("tags, every upstream down", self._tags)
        self.checks.check("the daemon stops in order", self._stop)
        self.upstreams.start()

    def set_up(self) -> None:
        """Let clients pull that know of the mirror what ``oci-registry setup`` wrote."""
        self.upstreams.stop()
        self.mirror.start(*self._folder("cache-skopeo"))
        for client in configured.clients(self.processes, self.mirror, self.checks):
            self._pull_all(client, "as it was set up", self.images)
        self.checks.check("the daemon stops in order", self._stop)
        self.upstreams.start()

    def _pull_all(self, client: Client, when: str, images: list[Image]) -> None:
        client.start()
        try:
            for image in filter(client.asks_for, images):
                self.checks.check(
                    f"{client.name}: {image.tagged}, {when}", client.pull, image, image.tagged
                )
                if image.host == "docker.io":
                    what = f"{client.name}: {image.name} by digest, {when}"
                    self.checks.check(what, client.pull, image, image.pinned)
            if client is self.containerd:
                self.checks.check(f"containerd: a container, {when}", self._container)
        finally:
            client.stop()

    def _container(self) -> None:
        for name in ("list", "zstd"):
            image = next(i for i in self.images if i.repository == f"library/{name}")
            said = self.containerd.cat(image, "/etc/arch").strip()
            assert said == HERE, f"{name}: {said!r}"

    def _tags(self) -> None:
        tags = self.skopeo.tags(f"{self.mirror.address}/docker.io/library/oci")
        assert tags == ["1"], tags

    def _settle(self) -> None:
        """Wait until the registries have logged what they answered."""
        count = -1
        while count != (count := self.upstreams.requests()):
            time.sleep(0.3)

    def _unasked(self, before: int) -> str:
        self._settle()
        now = self.upstreams.requests()
        assert now == before, f"{now - before} requests reached an upstream"
        return f"{before} requests until then"

    def _stop(self) -> None:
        status = self.mirror.stop()
        # twistd ends itself by the signal that ended it.
        assert status in (0, -15), f"exit status {status}"

    def refusals(self) -> None:
        """See what cannot be had refused, in a way that clients understand."""
        self.mirror.start(*self._folder("cache-refusals"))
        check = self.checks.check
        for what, path, status, code in (
            ("a private image without credentials", "anonymous.example/private/app", 403, "DENIED"),
            ("a registry with an unknown certificate", "strict.example/library/oci", 502, ""),
            ("a repository that is not there", "library/no-such-image", 404, ""),
        ):
            check(f"refused: {what}", self._refused, path, status, code)
            self.skopeo.start()
            image = f"{self.mirror.address}/{path}:1"
            check(f"refused, to skopeo: {what}", self._refused_skopeo, image)
        check("tags", self._tags)
        check("a ClientHello on the plain port is answered at once", self._client_hello)
        check("the daemon stops in order", self._stop)

    def _refused(self, path: str, status: int, code: str) -> str:
        try:
            urllib.request.urlopen(
                f"http://{self.mirror.address}/v2/{path}/manifests/1", timeout=30
            )
        except urllib.error.HTTPError as error:
            body = error.read().decode()
            assert error.code == status, f"{error.code}: {body}"
            told = json.loads(body)["errors"][0]
            assert not code or told["code"] == code, body
            assert "WWW-Authenticate" not in error.headers, "an upstream's challenge is passed on"
            return f"{told['code']}: {told['message']}"
        raise AssertionError("it was served")

    def _refused_skopeo(self, image: str) -> None:
        try:
            run("skopeo", "inspect", "--tls-verify=false", f"docker://{image}", timeout=60)
        except AssertionError:
            return
        raise AssertionError("skopeo got it")

    def _client_hello(self) -> str:
        host, _, port = self.mirror.address.partition(":")
        began = time.monotonic()
        with socket.create_connection((host, int(port)), timeout=20) as plain:
            try:
                ssl.create_default_context().wrap_socket(plain, server_hostname=host)
            except TimeoutError:
                raise AssertionError("no answer") from None
            except OSError:
                pass
        took = time.monotonic() - began
        assert took < 5, f"it took {took:.1f} s"
        return f"{took * 1000:.0f} ms"

    def management(self) -> None:
        """Look after a store, with a daemon of several processes."""
        management.Management(
            *(self.processes, self.checks, self.upstreams, self.mirror),
            *(self.skopeo, self.containerd),
        ).play()

    def conformance(self) -> None:
        """Run the conformance suite, first over what nobody has pulled yet."""
        what, work, repository = (
            "OCI conformance, read-only",
            self.processes.work,
            "library/conform",
        )
        try:
            suite = conformance.install(work)
        except conformance.Unavailable as error:
            self.checks.skip(what, str(error))
            return
        pusher = Pusher(self.upstreams.host("open"))
        subject = pusher.image(repository, "1", OCI_MANIFEST)
        referrer = pusher.referrer(repository, subject)
        pusher.index(repository, "2", OCI_INDEX, OCI_MANIFEST)
        images = [pusher.find("docker.io", repository, tag) for tag in ("1", "2")]
        digests = [image.digest for image in images]
        call: Callable[[], str] = lambda: conformance.conform(  # noqa: E731
            suite,
            work,
            self.mirror.address,
            repository,
            tags=["1", "2"],
            manifests=[*digests, referrer],
            blobs=sorted(images[0].contents - {digests[0]}),
            referrers=[digests[0]],
        )
        for how, workers in (("", None), (", through workers", management.WORKERS)):
            self.mirror.start(*self._folder(f"cache-conformance-{workers}"), workers=workers)
            for when in ("cold", "warm"):
                self.checks.check(f"{what}, {when}{how}", call)
            self.checks.check("the daemon stops in order", self._stop)

    def buckets(self) -> None:
        """Do it all on a bucket, and what only there can be done."""
        lacking = ceph.missing()
        if lacking:
            self.checks.skip("buckets of Ceph", f"this needs {', '.join(lacking)}")
            return
        cluster = ceph.Ceph(self.processes)
        try:
            cluster.start()
            for client in (self.skopeo, self.containerd):
                self.three_times(client, *buckets.storage(self.processes, cluster, client.name))
            buckets.Buckets(self.processes, self.checks, self.upstreams, cluster).play()
        finally:
            cluster.stop()

    def _clean(self) -> None:
        for name in ("mirror", *buckets.REPLICAS):
            log = self.processes.log(name)
            text = log.read_text() if log.exists() else ""
            assert "Traceback" not in text, text[text.index("Traceback") - 300 :][:3000]
            for secret in (PASSWORD, ceph.SECRET_KEY, management.TOKEN):
                assert secret not in text, "a secret is in the log"
