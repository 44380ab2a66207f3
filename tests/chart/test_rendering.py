"""What the chart makes of values, and what it refuses."""

from __future__ import annotations

import base64
import re
import tomllib
from pathlib import Path
from typing import Any

import yaml

from oci_registry.setup import containerd, containers
from oci_registry.setup.nouns import Mirror, Wanted, choose_registries
from tests.chart.support import SETS, ChartTestCase, container, variables, workload
from tools.chart import helm

DOCS = Path(__file__).parents[2] / "docs"


class Refusals(ChartTestCase):
    """Values with which nothing is installed."""

    def test_replicas_without_a_store(self) -> None:
        """Several replicas of a Deployment on a volume of one node are refused with what to do."""
        said = self.refused(replicas=2)
        for piece in ("need one store", "ReadWriteMany", "s3", "StatefulSet"):
            self.assertIn(piece, said)

    def test_replicas_that_may_come(self) -> None:
        """So are replicas that an autoscaler may add, and those that have no volume at all."""
        self.assertIn("several replicas", self.refused(autoscaling__enabled=True))
        self.assertIn("several replicas", self.refused(replicas=2, persistence__enabled=False))
        modes = ["ReadWriteMany"]
        said = self.refused(replicas=2, persistence__enabled=False, persistence__accessModes=modes)
        self.assertIn("several replicas", said)

    def test_replicas_with_a_store(self) -> None:
        """They are not where each has a volume, or all have one, or a bucket."""
        for values in (
            {"kind": "StatefulSet"},
            {"persistence__accessModes": ["ReadWriteOnce", "ReadWriteMany"]},
            {"registry__storage__mode": "s3"},
        ):
            self.assertEqual(2, workload(self.render(replicas=2, **values))["spec"]["replicas"])

    def test_sentences(self) -> None:
        """What cannot be together is refused with both names."""
        s3 = {"registry__storage__mode": "s3"}
        for values, piece in (
            ({"podDisruptionBudget__minAvailable": 0, "podDisruptionBudget__maxUnavailable": 1},
             "minAvailable or maxUnavailable, not both"),
            ({"registry__upstream__config__existingSecret": "a",
              "registry__upstream__config__contents": [{"namespace": "b", "host": "b"}]},
             "contents or existingSecret, not both"),
            ({**s3, "registry__storage__s3__accessKey": "a"}, "accessKey and secretKey, or neither"),
            ({**s3, "registry__storage__s3__secretKey": "a"}, "accessKey and secretKey, or neither"),
            ({**s3, "registry__storage__s3__accessKey": "a", "registry__storage__s3__secretKey": "b",
              "registry__storage__s3__existingSecret": "c"}, "or existingSecret, not both"),
            ({**s3, "registry__storage__s3__redirect__enabled": True,
              "registry__checkCacheDigest": True}, "bytes that are not verified"),
            ({**s3, "registry__minFree": "5%"}, "free space is not known"),
            ({**s3, "registry__maxSize": "80%"}, "a bucket has no size to share"),
            ({"kind": "DaemonSet", "autoscaling__enabled": True}, "one pod on every node"),
            ({"kind": "DaemonSet", "podDisruptionBudget__enabled": True}, "draining a node"),
            ({"kind": "StatefulSet", "persistence__existingClaim": "a"}, "each replica has its own"),
            ({**s3, "autoscaling__enabled": True, "autoscaling__minReplicas": 9}, "is more than"),
            ({**s3, "autoscaling__enabled": True,
              "autoscaling__targetCPUUtilizationPercentage": None}, "needs a target"),
            ({"httpRoute__enabled": True}, "httpRoute.parentRefs is required"),
            ({"registry__upstream__config__filesSecret": "a"}, "filesSecret requires contents"),
        ):  # fmt: skip
            self.assertIn(piece, self.refused(**values))

    def test_together(self) -> None:
        """Several problems are reported at once."""
        said = self.refused(replicas=2, httpRoute__enabled=True)
        self.assertIn("need one store", said)
        self.assertIn("httpRoute.parentRefs is required", said)

    def test_files_that_are_missing(self) -> None:
        """A file that an entry names is refused where nothing puts it beside the upstream file."""
        entry = {"namespace": "a.example", "host": "a.example"}
        for change, key in (
            ({"ca_file": "ca.crt"}, "ca_file ca.crt"),
            (
                {"host": None, "hosts": ["b", {"host": "a", "password_file": "p"}]},
                "password_file p",
            ),
        ):
            contents = [{**entry, **change}]
            said = self.refused(registry__upstream__config__contents=contents)
            self.assertIn(f"a.example: {key} is not in the pod", said)
            self.render(
                registry__upstream__config__contents=contents,
                registry__upstream__config__filesSecret="existing-files",
            )
        contents = [{**entry, "ca_file": "/etc/company-ca/ca.crt"}]
        self.render(registry__upstream__config__contents=contents)

    def test_unknown_values(self) -> None:
        """A misspelt value is refused, at every depth, and so is one of the wrong type."""
        cases: tuple[dict[str, object], ...] = (
            {"replica": 2},
            {"registry__storage__s3__buckets": "a"},
            {"metrics__serviceMonitor__enable": True},
            {"replicas": "2"},
            {"kind": "Job"},
            {"registry__storage__mode": "gcs"},
            {"service__port": 0},
            {"persistence__accessModes": ["ReadOnlyMany"]},
            {"podDisruptionBudget__minAvailable": "half"},
            {"networkPolicy__ingressFrom": [{"ipblock": {"cidr": "10.0.0.0/8"}}]},
            {"networkPolicy__ingressFrom": [{"ipBlock": {"cidr": "10.0.0.0"}}]},
            {"networkPolicy__metricsFrom": [{}]},
            {"resources__limits__memory": "1GB"},
            {"resources__request": {"cpu": 1}},
            {"nodeSetup__resources__requests__cpu": "a lot"},
            {"nodeSetup__runtimes": [{"runtime": "docker"}]},
        )
        for values in cases:
            self.assertIn("specifications of the schema", self.refused(**values))

    def test_as_a_part(self) -> None:
        """What a chart above passes to all of its parts is accepted."""
        self.render(**{"global": {"anything": True}})


class Rendering(ChartTestCase):
    """What values become."""

    def test_documented_variables(self) -> None:
        """All variables that the chart sets are in the daemon's documentation."""
        page = (DOCS / "reference" / "command-line.md").read_text("utf-8")
        known = set(re.findall(r"`([A-Z][A-Z0-9_]+)`", page))
        for path in sorted(SETS.glob("*-values.yaml")):
            name = path.name.removesuffix("-values.yaml")
            own = {
                each["name"]
                for each in (yaml.safe_load(path.read_text()) or {}).get("extraEnv", ())
            }
            self.assertEqual(set(), set(variables(self.render(name))) - own - known, name)

    def test_limits(self) -> None:
        """The limits of the store become variables, and there are none by default."""
        found = variables(self.render("upstreams"))
        self.assertEqual(("200GiB", "5%"), (found["MAX_SIZE"], found["MIN_FREE"]))
        self.assertFalse({"MAX_SIZE", "MIN_FREE"} & set(variables(self.render())))
        self.assertIn("maxSize", self.refused(registry__maxSize="a lot"))

    def test_upstream_file(self) -> None:
        """The entries of the upstream file come out as they went in, in a Secret."""
        given = yaml.safe_load((SETS / "upstreams-values.yaml").read_text("utf-8"))
        secret = self.render("upstreams")["Secret/test-oci-registry-upstream"]
        file = yaml.safe_load(base64.b64decode(secret["data"]["upstream.yaml"]))
        self.assertEqual(given["registry"]["upstream"]["config"]["contents"], file)

    def test_checksums(self) -> None:
        """Other entries, or other keys of the bucket, make new pods, and nothing else does."""

        def template(**values: object) -> object:
            return workload(self.render(**values))["spec"]["template"]["metadata"]

        entries = [{"namespace": "docker.io", "host": "a.example"}]
        first = template(registry__upstream__config__contents=entries)
        self.assertEqual(first, template(registry__upstream__config__contents=entries))
        self.assertEqual(
            first, template(registry__upstream__config__contents=entries, service__port=81)
        )
        entries = [{"namespace": "docker.io", "host": "b.example"}]
        self.assertNotEqual(first, template(registry__upstream__config__contents=entries))
        keys = {"registry__storage__mode": "s3", "registry__storage__s3__accessKey": "a"}
        first = template(**keys, registry__storage__s3__secretKey="b")
        self.assertNotEqual(first, template(**keys, registry__storage__s3__secretKey="c"))

    def test_time_to_stop(self) -> None:
        """A pod has the time that its responses have, and some more."""
        pod = workload(self.render(registry__shutdownGraceSeconds=300))["spec"]["template"]["spec"]
        self.assertEqual(320, pod["terminationGracePeriodSeconds"])

    def test_ipv6(self) -> None:
        """An IPv6 address stands in brackets."""
        self.assertEqual("[::]:8080", variables(self.render("node-port"))["LISTEN"])

    def test_role_of_the_account(self) -> None:
        """Without keys there are none in the environment, where they would hide the role."""
        objects = self.render("s3-irsa")
        self.assertEqual(set(), {"S3_ACCESS_KEY", "S3_SECRET_KEY"} & set(variables(objects)))
        account = objects["ServiceAccount/test-oci-registry"]
        self.assertIn("eks.amazonaws.com/role-arn", account["metadata"]["annotations"])

    def test_keys_of_the_bucket(self) -> None:
        """Keys come from a Secret, and the secret one from a file: it is not in the environment."""
        for values, name, key in (
            ("s3", "test-oci-registry-s3", "secret_key"),
            ("s3-existing-secret", "existing-bucket", "AWS_SECRET_ACCESS_KEY"),
        ):
            objects = self.render(values)
            given = variables(objects)
            self.assertNotIn("S3_SECRET_KEY", given)
            self.assertEqual("/etc/oci-registry/s3-key/secret_key", given["S3_SECRET_KEY_FILE"])
            volumes = workload(objects)["spec"]["template"]["spec"]["volumes"]
            (secret,) = (each["secret"] for each in volumes if each["name"] == "s3-key")
            self.assertEqual(name, secret["secretName"])
            self.assertEqual([{"key": key, "path": "secret_key"}], secret["items"])

    def test_probes(self) -> None:
        """Liveness does not depend on the store, readiness does; a probe can be left out."""
        probes = container(self.render())
        self.assertEqual("/healthz", probes["livenessProbe"]["httpGet"]["path"])
        self.assertEqual("/readyz", probes["readinessProbe"]["httpGet"]["path"])
        self.assertNotIn("startupProbe", container(self.render("extras")))

    def test_way_out(self) -> None:
        """The network policy lets out to the ports of the bucket, of registries and of proxies."""
        for values, expected in (
            ("s3", [443, 80, 9000]),
            ("upstreams", [443, 80, 8443, 8444, 5000]),
            ("proxy", [8888, 3128]),
        ):
            policy = self.render(values)["NetworkPolicy/test-oci-registry"]
            ports = [each["port"] for each in policy["spec"]["egress"][1]["ports"]]
            self.assertEqual(expected, ports)

    def test_where_to(self) -> None:
        """It lets out to all addresses but those of metadata services, or only where the values say."""

        def peers(*sets: str, **values: object) -> object:
            policy = self.render(*sets, **values)["NetworkPolicy/test-oci-registry"]
            return policy["spec"]["egress"][1].get("to")

        on = {"networkPolicy__enabled": True}
        self.assertEqual(
            [
                {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.169.254/32"]}},
                {"ipBlock": {"cidr": "::/0", "except": ["fd00:ec2::254/128"]}},
                {"namespaceSelector": {}},
            ],
            peers(**on),
        )
        self.assertIsNone(peers(**on, networkPolicy__egress__except=[]))
        self.assertEqual([{"ipBlock": {"cidr": "192.0.2.0/24"}}], peers("proxy"))

    def test_names_from_digits(self) -> None:
        """A release whose name begins with a digit has a Service whose name does not."""
        names = {each["metadata"]["name"] for each in helm.objects(release="1.st")}
        ends = ("", "-metrics", "-test")
        self.assertEqual({f"r1-st-oci-registry{end}" for end in ends}, names)

    def test_no_replicas_beside_an_autoscaler(self) -> None:
        """What an autoscaler scales has no number of replicas."""
        self.assertNotIn("replicas", workload(self.render("s3-irsa"))["spec"])


class Notes(ChartTestCase):
    """What is printed after an installation."""

    def snippets(self, text: str) -> dict[str, dict[str, Any]]:
        """Return the TOML files that the notes tell to write, by path."""
        found: dict[str, list[str]] = {}
        path = ""
        for line in text.splitlines():
            if match := re.match(r"  # (/etc/\S+?),?( .*)?$", line):
                path = match[1]
                found[path] = []
            elif line and not line.startswith("  "):
                path = ""
            elif path:
                found[path].append(line)
        return {path: tomllib.loads("\n".join(lines)) for path, lines in found.items()}

    def check(self, mirror: str, *names: str, rest: bool, values: str) -> None:
        """Check that the notes have the files that ``oci-registry setup`` makes for a mirror.

        *names* are of registries; *rest*: whether there is a file for all others.
        """
        notes = helm.notes(SETS / f"{values}-values.yaml")
        registries, _ = choose_registries(names, ())
        # What is to be filled in is in capitals, which no host has.
        wanted = Wanted(Mirror(mirror.lower()), registries, lambda path: None)
        expected = {**containerd.configure(wanted).files, **containers.podman(wanted).files}
        if not rest:
            del expected[f"{containerd.FOLDER}/_default/hosts.toml"]
        self.assertEqual(
            {path: tomllib.loads(text) for path, text in expected.items()},
            self.snippets(re.sub(r"(?<=//|.\")(ADDRESS|NODE)", lambda m: m[0].lower(), notes)),
        )

    def test_ways(self) -> None:
        """The files for the nodes lead to what the nodes can reach."""
        for values, mirror in {
            "default": "http://ADDRESS:80",
            "node-port": "http://NODE:30500",
            "load-balancer": "http://ADDRESS:80",
            "ingress": "https://images.example.com",
            "daemonset": "http://127.0.0.1:5000",
            "daemonset-s3": "http://127.0.0.1:80",
            "tls": "https://ADDRESS:443",
            "http-route": "https://images.example.com",
            "ingress-acme": "https://images.example.com",
        }.items():
            self.check(mirror, "docker.io", rest=True, values=values)

    def test_registries(self) -> None:
        """There is a file for each configured registry, and one for the rest only if it is served."""
        names = ("docker.io", "example.com", "registry.example.com:5000")
        self.check("http://ADDRESS:80", *names, rest=False, values="upstreams")

    def test_image(self) -> None:
        """A user who has not named an image is told that none is published."""
        self.assertIn("No image is published", helm.notes())
        self.assertNotIn(
            "No image is published", helm.notes(values={"image.repository": "a.example/cache"})
        )


class Names(ChartTestCase):
    """Names that others have chosen."""

    def test_releases_that_look_like_values(self) -> None:
        """A release may be called 123 or true; its labels are text nevertheless, and select its pods."""
        for release in ("123", "true"):
            for document in helm.objects(release=release):
                labels = document["metadata"]["labels"]
                self.assertEqual(release, labels["app.kubernetes.io/instance"])
                selector = document["spec"].get("selector") if "spec" in document else None
                if selector is not None:
                    chosen = selector.get("matchLabels", selector)
                    self.assertEqual(release, chosen["app.kubernetes.io/instance"])

    def test_names_that_look_like_values(self) -> None:
        """So it is with what was there before the chart, which a pod refers to."""
        rendered = self.render(
            registry__upstream__config__existingSecret="007",
            registry__upstream__config__existingSecretKey="1",
            registry__upstream__credentials__existingSecret="1e3",
            registry__upstream__credentials__existingSecretKey="no",
            persistence__existingClaim="123",
            serviceAccount__create=False,
            serviceAccount__name="456",
        )
        pod = workload(rendered)["spec"]["template"]["spec"]
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        self.assertEqual("007", volumes["upstream"]["secret"]["secretName"])
        self.assertEqual(
            "/etc/oci-registry/upstream/1", variables(rendered)["UPSTREAM_CONFIG_FILE"]
        )
        self.assertEqual("1e3", volumes["credentials"]["secret"]["secretName"])
        self.assertEqual("no", volumes["credentials"]["secret"]["items"][0]["key"])
        self.assertEqual("123", volumes["data"]["persistentVolumeClaim"]["claimName"])
        self.assertEqual("456", pod["serviceAccountName"])
