"""What the chart's DaemonSet does to a node, in a directory that stands in for the node's root."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from tests.chart.support import ChartTestCase
from tests.support.containerd import Containerd as RealContainerd
from tests.support.containerd import require_containerd
from tests.support.daemon import reactor, running, until
from tests.support.fake_registry import FakeRegistry
from tests.support.process import SOURCE, DaemonProcess
from tests.unit.setup.support import HTTP

SETUP = "DaemonSet/test-oci-registry-node-setup"
CERTS = "etc/containerd/certs.d"
PROGRAMS = Path(sys.executable).parent


class Node:
    """A directory as the root of a node, with the pod that the chart puts there."""

    def __init__(self, root: Path, pod: Mapping[str, Any]) -> None:
        self.root = root
        (self._setup,) = pod["initContainers"]
        (self._installed,) = pod["containers"]
        self._places = {
            mount["mountPath"]: volume["hostPath"]["path"]
            for volume in pod["volumes"]
            for mount in self._setup["volumeMounts"]
            if mount["name"] == volume["name"]
        }
        self._sees_the_node = root.parent / f"{root.name}-in-the-pod"

    def start(self, **environment: str) -> str:
        """Do what the init container does; return what it says."""
        command = [*self._setup.get("command", ()), *self._setup["args"]]
        return self._run(command, environment)

    def stop(self) -> str:
        """Do what a kubelet does before the pod is stopped."""
        return self._run(self._installed["lifecycle"]["preStop"]["exec"]["command"], {})

    def _run(self, command: list[str], environment: Mapping[str, str]) -> str:
        host = self._sees_the_node / "host"
        # Mounts need rights that a test may not have: the directory is the node's by a move.
        moved = []
        for inside, outside in self._places.items():
            pod, node = self._sees_the_node / inside[1:], self.root / outside[1:]
            node.mkdir(parents=True, exist_ok=True)
            pod.parent.mkdir(parents=True, exist_ok=True)
            node.rename(pod)
            moved.append((pod, node))
        try:
            done = subprocess.run(
                [each.replace("=/host", f"={host}") for each in command],
                check=False,
                capture_output=True,
                text=True,
                env={
                    "PATH": f"{PROGRAMS}{os.pathsep}/usr/bin:/bin",
                    "PYTHONPATH": SOURCE,
                    **environment,
                },
            )
        finally:
            for pod, node in moved:
                if pod.exists():
                    pod.rename(node)
                else:
                    node.mkdir()
        assert done.returncode == 0, done.stderr
        return done.stdout

    def files(self) -> dict[str, str]:
        """Return the text of every file of the node."""
        return {
            str(path.relative_to(self.root)): path.read_text()
            for path in sorted(self.root.rglob("*"))
            if path.is_file()
        }


class NodeTestCase(ChartTestCase):
    """Tests with a node."""

    def node(self, *sets: str, **values: object) -> Node:
        """Return a node with the pod that values make."""
        root = Path(self.mktemp()).absolute()
        root.mkdir()
        objects = self.render(*sets, nodeSetup__enabled=True, **values)
        return Node(root, objects[SETUP]["spec"]["template"]["spec"])

    def put(self, node: Node, path: str, text: str) -> None:
        """Let a file be on the node already."""
        place = node.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)


class NodeSetup(NodeTestCase):
    """Nodes of one runtime or another."""

    def test_containerd(self) -> None:
        """containerd gets a file for docker.io and one for all others, and loses them at the end."""
        node = self.node("daemonset")
        node.start()
        for name in ("docker.io", "_default"):
            hosts = tomllib.loads(node.files()[f"{CERTS}/{name}/hosts.toml"])["host"]
            self.assertEqual(["http://127.0.0.1:5000"], list(hosts))
        node.stop()
        self.assertEqual({}, node.files())

    def test_kept(self) -> None:
        """What was there is kept: other registries as they are, replaced files until the end."""
        node = self.node("daemonset")
        self.put(node, f"{CERTS}/docker.io/hosts.toml", "# somebody's own\n")
        self.put(node, f"{CERTS}/quay.io/hosts.toml", "# another's\n")
        self.put(node, "etc/containerd/config.toml", "version = 2\n")
        before = node.files()
        node.start()
        self.assertIn("127.0.0.1", node.files()[f"{CERTS}/docker.io/hosts.toml"])
        self.assertLessEqual(
            {f"{CERTS}/quay.io/hosts.toml", "etc/containerd/config.toml"}, set(node.files())
        )
        node.stop()
        self.assertEqual(before, node.files())

    def test_started_again(self) -> None:
        """Pods that follow each other, with other values too, leave the node as it was in the end."""
        for name in ("docker.io", "quay.io"):
            first = self.node("daemonset")
            self.put(first, f"{CERTS}/{name}/hosts.toml", "# somebody's own\n")
            before = first.files()
            first.start()
            first.start()
            second = self.node("daemonset", nodeSetup__mirror=HTTP)
            second.root = first.root
            # The first one was killed, so it has removed nothing.
            second.start()
            self.assertIn(HTTP, second.files()[f"{CERTS}/docker.io/hosts.toml"])
            second.stop()
            self.assertEqual(before, second.files())

    def test_k3s(self) -> None:
        """k3s keeps what its file has besides, and gets back the file as it was, comments included."""
        path = "etc/rancher/k3s/registries.yaml"
        text = "# ours\nconfigs:\n  registry.example.com:\n    auth: {username: a, password: b}\n"
        node = self.node("node-setup", nodeSetup__removeOnStop=True)
        self.put(node, path, text)
        node.start()
        document = yaml.safe_load(node.files()[path])
        self.assertEqual({"docker.io", "quay.io"}, set(document["mirrors"]))
        self.assertIn("registry.example.com", document["configs"])
        node.stop()
        self.assertEqual({path: text}, node.files())

    def test_crio(self) -> None:
        """CRI-O gets a file beside its own, with the URL of the Ingress."""
        node = self.node("node-setup-ingress", nodeSetup__removeOnStop=True)
        own = "etc/containers/registries.conf.d/000-shortnames.conf"
        self.put(node, own, "[aliases]\n")
        node.start()
        made = node.files()["etc/containers/registries.conf.d/050-oci-registry.conf"]
        mirrors = [each["mirror"][0]["location"] for each in tomllib.loads(made)["registry"]]
        self.assertEqual(
            [f"images.example.com/{name}" for name in ("docker.io", "quay.io")], mirrors
        )
        node.stop()
        self.assertEqual({own: "[aliases]\n"}, node.files())

    def test_service(self) -> None:
        """Without a URL it is the address of the Service, by IPv6 too, in the node's own directory."""
        folder = "var/snap/microk8s/current/args/certs.d"
        for address in ("10.96.0.80", "[fd00::80]"):
            node = self.node("node-setup-service", nodeSetup__removeOnStop=True)
            node.start(TEST_OCI_REGISTRY_PORT=f"tcp://{address}:80")
            made = tomllib.loads(node.files()[f"{folder}/docker.io/hosts.toml"])
            self.assertEqual([f"http://{address}:80"], list(made["host"]))
            node.stop()
            self.assertEqual({}, node.files())

    def test_registries(self) -> None:
        """The registries are those of the upstream file, without the entry for all others."""
        entries = [{"namespace": name, "host": "a.example"} for name in ("*", "quay.io", "ghcr.io")]
        node = self.node("daemonset", registry__upstream__config__contents=entries)
        node.start()
        names = {path.split("/")[-2] for path in node.files() if path.startswith(CERTS)}
        self.assertEqual({"quay.io", "ghcr.io", "_default"}, names)

    def test_left(self) -> None:
        """What was written stays if the values say so, and where a runtime reads it only at its start."""
        for sets in ("node-setup-service", "node-setup", "node-setup-ingress"):
            pod = self.render(sets)[SETUP]["spec"]["template"]["spec"]
            self.assertNotIn("lifecycle", pod["containers"][0])
            self.assertNotIn("volumeMounts", pod["containers"][0])
        objects = self.render(nodeSetup__enabled=True)
        self.assertIn("lifecycle", objects[SETUP]["spec"]["template"]["spec"]["containers"][0])

    def test_waits(self) -> None:
        """The pod does nothing until it is stopped, and ends in order, as the first process too."""
        (installed,) = self.render("daemonset", nodeSetup__enabled=True)[SETUP]["spec"]["template"][
            "spec"
        ]["containers"]
        process = subprocess.Popen(
            [sys.executable, *installed["command"][1:]], stdout=subprocess.PIPE, text=True
        )
        self.addCleanup(process.kill)
        assert process.stdout is not None
        self.addCleanup(process.stdout.close)
        self.assertEqual("waiting to be stopped\n", process.stdout.readline())
        self.assertIsNone(process.poll())
        process.terminate()
        self.assertEqual(0, process.wait(10))

    def test_no_address(self) -> None:
        """Where the URL cannot be known it has to be given."""
        for values in (
            {"tls__existingSecret": "a"},
            {"service__enabled": False},
            {"service__type": "LoadBalancer"},
            {"httpRoute__enabled": True, "httpRoute__parentRefs": [{"name": "a"}]},
            {"httpRoute__enabled": True, "httpRoute__parentRefs": [{"name": "a"}],
             "httpRoute__hostnames": ["*.example.com"]},
            {"kind": "DaemonSet", "daemonSet__hostPort": None, "daemonSet__hostNetwork": False,
             "service__enabled": False},
        ):  # fmt: skip
            said = self.refused(nodeSetup__enabled=True, **values)
            self.assertIn("nodeSetup.mirror is required", said)
            self.render(nodeSetup__enabled=True, nodeSetup__mirror="https://a.example", **values)


class Containerd(NodeTestCase):
    """The real containerd, which reads what was written on its node."""

    def setUp(self) -> None:
        super().setUp()
        require_containerd()

    @running
    async def test_pull(self) -> None:
        """A pull on the node is answered by the cache, and after the end it is not."""
        registry = FakeRegistry()
        registry.start(reactor)
        self.addCleanup(lambda: Deferred.fromCoroutine(registry.stop()))
        registry.add_image("team/app", "1", b"layer of the image")
        folder = Path(self.mktemp()).absolute()
        folder.mkdir()
        # The name is in no DNS: only the cache can answer.
        upstream = f"- {{namespace: nowhere.invalid, host: '{registry.host}', tls: false}}\n"
        daemon = DaemonProcess(reactor, folder / "cache", upstream)
        self.addCleanup(daemon.end)
        node = self.node(
            "daemonset", nodeSetup__mirror=f"http://127.0.0.1:{await daemon.listening}"
        )
        await deferToThread(node.start)
        containerd = RealContainerd(self)
        await deferToThread(containerd.begin)
        fetch = ("content", "fetch", "--hosts-dir", str(node.root / CERTS))
        status, said = await deferToThread(containerd.ctr, *fetch, "nowhere.invalid/team/app:1")
        self.assertEqual(0, status, said)
        # The access log is written when the response has been sent, which the client has by then.
        await until(lambda: b"ns=nowhere.invalid" in daemon.output)

        await deferToThread(node.stop)
        status, said = await deferToThread(containerd.ctr, *fetch, "nowhere.invalid/team/app:1")
        self.assertNotEqual(0, status, said)
        self.assertIn("nowhere.invalid", said)
