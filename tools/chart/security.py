"""The pod security standard "restricted", which a namespace can demand of all its pods.

https://kubernetes.io/docs/concepts/security/pod-security-standards/ has the rules.  What it forbids and a
DaemonSet on nodes is made of is allowed there: the network, a port and a directory of the node, the init
container that prepares such a directory, and the containers that write the configuration of the node.  A test
of a release may ask from the network of the node.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tools.chart.objects import Objects, Pod, kind, place, pods

_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
_SECCOMP = {"RuntimeDefault", "Localhost"}
# Containers of a DaemonSet that may be root, with the capabilities that they may have.
_ROOT: Mapping[str, set[str]] = {"prepare-host-path": {"CHOWN"}, "setup": set(), "installed": set()}
_LOCAL = {"127.0.0.1", "::1"}


def restricted(documents: Objects) -> Iterator[str]:
    """Every pod satisfies the standard, and has a read-only root and no token besides."""
    for pod in pods(documents):
        for problem in (*_pod(pod), *_volumes(pod)):
            yield f"{place(pod.owner)}: {problem}"
        for container in pod.containers:
            where = f"{place(pod.owner)}, container {container['name']}"
            for problem in _container(pod, container):
                yield f"{where}: {problem}"


def _on_nodes(pod: Pod) -> bool:
    return kind(pod.owner) == "DaemonSet"


def _tests(pod: Pod) -> bool:
    return (pod.metadata.get("annotations") or {}).get("helm.sh/hook") == "test"


def _pod(pod: Pod) -> Iterator[str]:
    spec = pod.spec
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(key) and not (key == "hostNetwork" and (_on_nodes(pod) or _tests(pod))):
            yield f"{key} is set"
    if spec.get("automountServiceAccountToken") is not False:
        yield "the token of the service account is mounted"
    context = spec.get("securityContext", {})
    if context.get("runAsNonRoot") is not True or context.get("runAsUser") == 0:
        yield "it may run as root"
    if context.get("seccompProfile", {}).get("type") not in _SECCOMP:
        yield "there is no seccomp profile"
    if context.get("sysctls"):
        yield "sysctls are set"
    if "fsGroup" in context and context.get("fsGroupChangePolicy") != "OnRootMismatch":
        # Blobs that were verified are told by their permissions.
        yield "each start would change the permissions of all files"


def _volumes(pod: Pod) -> Iterator[str]:
    for volume in pod.spec.get("volumes", ()):
        (source,) = set(volume) - {"name"} or {"emptyDir"}
        if source not in _VOLUMES and not (source == "hostPath" and _on_nodes(pod)):
            yield f"the volume {volume['name']} is a {source}"


def _container(pod: Pod, container: Mapping[str, Any]) -> Iterator[str]:
    context = container.get("securityContext", {})
    capabilities = context.get("capabilities", {})
    root = _ROOT.get(container["name"]) if _on_nodes(pod) else None
    if root is None and (context.get("runAsNonRoot") is False or context.get("runAsUser") == 0):
        yield "it runs as root"
    if context.get("privileged"):
        yield "it is privileged"
    if context.get("allowPrivilegeEscalation") is not False:
        yield "it may gain privileges"
    if context.get("readOnlyRootFilesystem") is not True:
        yield "its root is not read-only"
    if capabilities.get("drop") != ["ALL"]:
        yield "it keeps capabilities"
    added = set(capabilities.get("add", ())) - ({"NET_BIND_SERVICE"} if root is None else root)
    if added:
        yield f"it gets the capabilities {sorted(added)}"
    if context.get("seccompProfile", {}).get("type", "RuntimeDefault") not in _SECCOMP:
        yield "its seccomp profile is none"
    if context.get("procMount", "Default") != "Default":
        yield "it sees another /proc"
    for port in container.get("ports", ()):
        if port.get("hostPort") and not _on_nodes(pod):
            yield f"it takes the port {port['hostPort']} of the node"
    probes = [container.get(f"{each}Probe") or {} for each in ("startup", "liveness", "readiness")]
    for action in (*probes, *container.get("lifecycle", {}).values()):
        for each in ("httpGet", "tcpSocket"):
            host = action.get(each, {}).get("host")
            # Where the network is the node's, its own address is the pod's.
            if host is not None and not (pod.spec.get("hostNetwork") and host in _LOCAL):
                yield "a probe is sent to another host"
