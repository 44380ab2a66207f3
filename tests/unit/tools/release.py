"""A small release in which nothing is wrong, to be damaged."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tools.chart.rules import problems

STABLE = {"app.kubernetes.io/name": "cache", "app.kubernetes.io/instance": "one"}


def _object(kind: str, name: str, **content: Any) -> dict[str, Any]:
    return {
        "kind": kind,
        "metadata": {"name": name, "namespace": "images", "labels": dict(STABLE)},
        **content,
    }


def _pod() -> dict[str, Any]:
    return {
        "enableServiceLinks": False,
        "automountServiceAccountToken": False,
        "serviceAccountName": "cache",
        "terminationGracePeriodSeconds": 50,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": "cache",
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                "env": [{"name": "SHUTDOWN_GRACE", "value": "30s"}],
                "ports": [{"name": "http", "containerPort": 8080}],
                "lifecycle": {"preStop": {"sleep": {"seconds": 5}}},
                "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http"}},
                "resources": {"requests": {"cpu": "100m"}, "limits": {"cpu": "1"}},
                "volumeMounts": [{"name": "data", "mountPath": "/data"}],
            }
        ],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "cache"}}],
    }


class ReleaseTestCase(SynchronousTestCase):
    """A release of a Deployment, what it needs, and what it can have."""

    def setUp(self) -> None:
        self.deployment = _object(
            "Deployment",
            "cache",
            spec={
                "replicas": 1,
                "strategy": {"type": "Recreate"},
                "selector": {"matchLabels": dict(STABLE)},
                "template": {"metadata": {"labels": dict(STABLE)}, "spec": _pod()},
            },
        )
        self.spec = self.deployment["spec"]
        self.pod = self.spec["template"]["spec"]
        self.container = self.pod["containers"][0]
        self.claim = _object(
            "PersistentVolumeClaim", "cache", spec={"accessModes": ["ReadWriteOnce"]}
        )
        port = {"name": "http", "port": 80, "targetPort": "http"}
        self.service = _object(
            "Service",
            "cache",
            spec={"type": "ClusterIP", "selector": dict(STABLE), "ports": [port]},
        )
        self.documents = [
            _object("ServiceAccount", "cache"),
            self.claim,
            self.deployment,
            self.service,
        ]

    def add(self, kind: str, name: str = "cache", **spec: Any) -> dict[str, Any]:
        """Add an object and return its spec."""
        self.documents.append(_object(kind, name, spec=spec))
        return spec

    def on_nodes(self) -> None:
        """Make a DaemonSet of the Deployment, with a port and a directory of the node."""
        self.deployment["kind"] = "DaemonSet"
        del self.spec["replicas"], self.spec["strategy"]
        self.container["ports"][0]["hostPort"] = 5000
        self.pod["volumes"] = [{"name": "data", "hostPath": {"path": "/var/lib/cache"}}]

    def found(self, *pieces: str) -> None:
        """Check that one thing is wrong for each of *pieces*, whose sentence contains it."""
        found = problems(self.documents)
        self.assertEqual(len(pieces), len(found), found)
        for piece, problem in zip(pieces, found, strict=True):
            self.assertIn(piece, problem)
