"""The table: registries that are named twice, in odd ways, or before ``/v2/``; upper case."""

from __future__ import annotations

from oci_registry.config.settings import BUILTIN_UPSTREAMS, HostSettings, UpstreamSettings
from oci_registry.spec.errors import NameInvalid, NameUnknown
from oci_registry.spec.routes import ManifestRoute, parse_route
from oci_registry.upstream.table import UpstreamTable
from tests.support.settings import upstream_settings

from . import test_table

REG = upstream_settings(namespace="reg.test", host="10.0.0.1:5000")
HUB = upstream_settings(namespace="hub", host="registry-1.docker.io")
ALL = (REG, HUB, *BUILTIN_UPSTREAMS)


class NamesTestCase(test_table.TableTestCase):
    """Paths with a query, and what they mean."""

    def means(self, table: UpstreamTable, target: str, namespace: str, repository: str) -> None:
        """Check what the path and query of a manifest mean."""
        path, _, query = target.partition("?")
        route = parse_route(f"{path}/manifests/1".encode(), query.encode())
        assert isinstance(route, ManifestRoute)
        found = table.resolve(route.name, route.ns)
        self.assertEqual((namespace, repository), (found.upstream.namespace, found.repository))


class Twice(NamesTestCase):
    """A registry in ``ns`` and in the path."""

    def test_same(self) -> None:
        """The registry that ns means is no part of the repository, under whichever of its names."""
        table = self.make(*ALL)
        for name in ("reg.test", "reg.test:443", "reg.test.", "REG.test"):
            for ns in ("reg.test", "reg.test:443", "reg.test.", "Reg.Test"):
                self.means(table, f"/v2/{name}/team/app?ns={ns}", "reg.test", "team/app")
        aliases = ("docker.io", "registry-1.docker.io", "index.docker.io:443", "docker.io.")
        for name in aliases:
            for ns in aliases:
                self.means(table, f"/v2/{name}/a/b?ns={ns}", "docker.io", "a/b")
                self.means(table, f"/v2/{name}/a?ns={ns}", "docker.io", "library/a")
        self.means(table, "/v2/localhost:5000/a?ns=localhost:5000", "localhost:5000", "a")
        self.means(table, "/v2/hub/a/b?ns=hub", "hub", "a/b")

    def test_unconfigured(self) -> None:
        """That holds for registries that nobody configured, too."""
        self.means(self.make(), "/v2/quay.io/a/b?ns=quay.io", "quay.io", "a/b")

    def test_v2_behind(self) -> None:
        """A client that puts /v2 behind the path of the mirror's address means the same."""
        table = self.make(*ALL)
        self.means(table, "/v2/reg.test/v2/team/app?ns=reg.test", "reg.test", "team/app")
        self.means(table, "/v2/hub/v2/a/b?ns=docker.io", "hub", "a/b")
        # Without ns nothing says that a client did that.
        self.means(table, "/v2/reg.test/v2/app", "reg.test", "v2/app")
        self.means(table, "/v2/v2/app?ns=reg.test", "reg.test", "v2/app")

    def test_another(self) -> None:
        """Any other registry in the path is a part of the repository."""
        table = self.make(*ALL)
        self.means(table, "/v2/quay.io/a?ns=reg.test", "reg.test", "quay.io/a")
        self.means(table, "/v2/docker.io/a?ns=reg.test", "reg.test", "docker.io/a")
        self.means(table, "/v2/reg.test?ns=reg.test", "reg.test", "reg.test")
        self.means(table, "/v2/reg.test/reg.test/a?ns=reg.test", "reg.test", "reg.test/a")

    def test_own_name(self) -> None:
        """A name of our own for the registry that ns means is one of that registry, and no other is."""
        table = self.make(*ALL)
        self.means(table, "/v2/hub/a/b?ns=docker.io", "hub", "a/b")
        self.means(table, "/v2/hub/a/b?ns=reg.test", "reg.test", "hub/a/b")
        self.means(table, "/v2/hubs/a/b?ns=docker.io", "docker.io", "hubs/a/b")
        self.means(self.make(HUB), "/v2/hub/a/b?ns=docker.io", "hub", "a/b")
        self.means(self.make(REG), "/v2/hub/a/b?ns=docker.io", "docker.io", "hub/a/b")

    def test_hosts_behind_one_mirror(self) -> None:
        """Two registries that are asked at one host are two registries."""
        both = [upstream_settings(namespace=name, host="mirror") for name in ("a.test", "b.test")]
        self.means(self.make(*both), "/v2/a.test/x?ns=b.test", "b.test", "a.test/x")

    def test_other_places(self) -> None:
        """What is asked at another path, or in plain text, is another registry."""
        for host in (
            HostSettings("registry-1.docker.io", path="x"),
            HostSettings("registry-1.docker.io", tls=False),
        ):
            other = UpstreamSettings("other", (host,))
            self.means(self.make(other), "/v2/other/a?ns=docker.io", "docker.io", "other/a")


class Before(NamesTestCase):
    """A registry before ``/v2/``."""

    def test_decides(self) -> None:
        """It is meant, whatever ns says: nothing else can be."""
        table = self.make(*ALL)
        for query in ("", "?ns=reg.test", "?ns=docker.io", "?ns=quay.io"):
            self.means(table, f"/reg.test/v2/team/app{query}", "reg.test", "team/app")
            self.means(table, f"/reg.test:443/v2/quay.io/app{query}", "reg.test", "quay.io/app")
            self.means(table, f"/registry-1.docker.io/v2/a{query}", "docker.io", "library/a")
            self.means(table, f"/hub/v2/a/b{query}", "hub", "a/b")
            self.means(table, f"/ghcr.io/v2/a/b{query}", "ghcr.io", "a/b")

    def test_repeated(self) -> None:
        """The name may have it once more."""
        self.means(self.make(*ALL), "/reg.test/v2/reg.test/app?ns=reg.test", "reg.test", "app")

    def test_unknown(self) -> None:
        """A word that is neither configured nor a host is no registry."""
        table = self.make(*ALL)
        for target in ("/other/v2/a", "/other/v2/a?ns=reg.test", "/a_b.c/v2/a"):
            self.assertRaises(NameUnknown, self.means, table, target, "", "")
        closed = self.make(REG, dynamic=False)
        self.means(closed, "/reg.test/v2/a", "reg.test", "a")
        self.assertRaises(NameUnknown, self.means, closed, "/ghcr.io/v2/a", "", "")


class Spellings(NamesTestCase):
    """One registry under several spellings."""

    def test_one_upstream(self) -> None:
        """The port of https and a dot at the end make no other registry."""
        table = self.make(REG, dynamic=False)
        for target in (
            "/v2/a?ns=reg.test:443",
            "/v2/a?ns=reg.test.",
            "/v2/reg.test:443/a",
            "/v2/reg.test./a",
            "/v2/reg.test.:443/a",
        ):
            self.means(table, target, "reg.test", "a")
        self.assertRaises(NameUnknown, self.means, table, "/v2/reg.test:80/a", "", "")
        table = self.make()
        for target in ("/v2/a?ns=quay.io:443", "/v2/quay.io./a", "/v2/quay.io/a"):
            self.means(table, target, "quay.io", "a")
        self.assertEqual(["quay.io"], [made.namespace for made in self.connected[1:]])

    def test_docker_hub(self) -> None:
        """Docker Hub has one more name."""
        self.means(self.make(), "/v2/registry.hub.docker.com/a", "docker.io", "library/a")
        self.means(self.make(), "/v2/a?ns=registry.hub.docker.com", "docker.io", "library/a")

    def test_default(self) -> None:
        """The default registry may be configured under another spelling of its name."""
        self.means(self.make(REG, default="reg.test:443"), "/v2/a", "reg.test", "a")

    def test_underscores(self) -> None:
        """A registry of the local network may have an underscore in its name."""
        local = upstream_settings(namespace="my_registry:5000", host="my_registry:5000")
        table = self.make(local)
        self.means(table, "/v2/my_registry:5000/a", "my_registry:5000", "a")
        self.means(table, "/v2/a?ns=my_registry:5000", "my_registry:5000", "a")


class UpperCase(NamesTestCase):
    """Repositories with upper-case letters."""

    def test_refused(self) -> None:
        """They are refused where a registry is not known to have them."""
        table = self.make(*ALL)
        for target in (
            "/v2/A",
            "/v2/library/BusyBox",
            "/v2/gcr.io/A",
            "/v2/A?ns=gcr.io",
            "/v2/GCR.io/a?ns=quay.io",
            "/v2/Hub/a",
            "/reg.test/v2/A",
        ):
            self.assertRaises(NameInvalid, self.means, table, target, "", "")
        # Not even made for that.
        self.assertEqual(len(ALL), len(self.connected))

    def test_known(self) -> None:
        """Hugging Face has them, without any configuration."""
        name = "bartowski/Llama-3.2-1B-Instruct-GGUF"
        for target in (f"/v2/hf.co/{name}", f"/v2/{name}?ns=hf.co", f"/hf.co/v2/{name}"):
            self.means(self.make(), target, "hf.co", name)
        self.means(self.make(default="hf.co"), f"/v2/{name}", "hf.co", name)

    def test_configured(self) -> None:
        """An upstream that is configured to has repositories with upper-case letters."""
        upper = upstream_settings(
            namespace="models.test", host="models.test", upper_case_names=True
        )
        self.means(self.make(upper), "/v2/models.test/A/b", "models.test", "A/b")
        for name in ("A..b", "_A", "A" * 256):
            with self.assertRaises(NameInvalid):
                self.means(self.make(upper), f"/v2/models.test/{name}", "", "")
