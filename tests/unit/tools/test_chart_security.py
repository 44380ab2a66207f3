"""Rules for the security of pods."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from tests.unit.tools.release import ReleaseTestCase


class Security(ReleaseTestCase):
    """tools.chart.security."""

    def test_pod(self) -> None:
        """A pod shares nothing with the node, and holds no token."""
        self.pod.update(hostNetwork=True, hostPID=True, hostIPC=True)
        del self.pod["automountServiceAccountToken"]
        self.pod["securityContext"]["sysctls"] = [{"name": "net.core.somaxconn", "value": "1"}]
        self.found("hostNetwork", "hostPID", "hostIPC", "the token", "sysctls")

    def test_root(self) -> None:
        """Nothing runs as root, nor without a profile for system calls."""
        self.pod["securityContext"] = {}
        self.container["securityContext"]["runAsUser"] = 0
        self.found("it may run as root", "there is no seccomp profile", "it runs as root")

    def test_container(self) -> None:
        """A container has none of the privileges that the standard names, and a read-only root."""
        self.container["securityContext"] = {
            "privileged": True,
            "seccompProfile": {"type": "Unconfined"},
            "procMount": "Unmasked",
            "capabilities": {"add": ["SYS_ADMIN"]},
        }
        self.found(
            "it is privileged",
            "it may gain privileges",
            "its root is not read-only",
            "it keeps capabilities",
            "SYS_ADMIN",
            "its seccomp profile is none",
            "it sees another /proc",
        )

    def test_init_containers(self) -> None:
        """What runs first is held to the same."""
        self.pod["initContainers"] = [{**deepcopy(self.container), "name": "first"}]
        self.pod["initContainers"][0]["ports"] = []
        self.found()
        self.pod["initContainers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
        self.found("container first: it may gain privileges")

    def test_probe_elsewhere(self) -> None:
        """No probe is sent to another host."""
        self.container["readinessProbe"]["httpGet"]["host"] = "192.0.2.1"
        self.found("a probe is sent to another host")

    def test_permissions(self) -> None:
        """A group for files goes with leaving alone what belongs to it already."""
        self.pod["securityContext"]["fsGroup"] = 1000
        self.found("each start would change the permissions of all files")
        self.pod["securityContext"]["fsGroupChangePolicy"] = "OnRootMismatch"
        self.found()

    def test_nodes(self) -> None:
        """Ports and directories of nodes are for a DaemonSet alone."""
        self.on_nodes()
        self.found()
        self.deployment["kind"] = "Deployment"
        self.found("the volume data is a hostPath", "it takes the port 5000 of the node")

    def test_network_of_the_node(self) -> None:
        """A DaemonSet may use the network of its node, and is probed there."""
        self.on_nodes()
        self.pod["hostNetwork"] = True
        self.container["readinessProbe"]["httpGet"]["host"] = "127.0.0.1"
        self.found()
        self.container["readinessProbe"]["httpGet"]["host"] = "192.0.2.1"
        self.found("a probe is sent to another host")
        self.pod["hostNetwork"] = False
        self.container["readinessProbe"]["httpGet"]["host"] = "127.0.0.1"
        self.found("a probe is sent to another host")

    def test_prepares(self) -> None:
        """What prepares a directory of the node may be root, with one capability."""
        self.on_nodes()
        prepares: dict[str, Any] = {**deepcopy(self.container), "name": "prepare-host-path"}
        prepares["ports"] = []
        prepares["securityContext"].update(runAsUser=0, runAsNonRoot=False)
        prepares["securityContext"]["capabilities"]["add"] = ["CHOWN"]
        self.pod["initContainers"] = [prepares]
        self.found()
        prepares["securityContext"]["capabilities"]["add"] = ["SYS_ADMIN"]
        self.found("SYS_ADMIN")
        prepares["name"] = "other"
        self.found("it runs as root", "SYS_ADMIN")
