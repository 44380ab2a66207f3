"""How each script of the documentation is known to work, or why it is not run."""

from __future__ import annotations

from enum import Enum


class How(Enum):
    """What is done about a script; all of them are at least parsed by a shell."""

    RUN = "runs beside a mirror, in test_commands"
    DAEMON = "starts a daemon, which test_commands asks and stops"
    TUTORIAL = "is a step of the first tutorial, which test_tutorial follows"
    STAGE = "is what stages of .ci/run do: they install the project and run its tests"
    CLIENT = "needs a client of images and what it needs: root, an engine. tests/e2e has such pulls"
    ENGINE = "needs an engine for containers"
    CLUSTER = "needs a cluster; what helm makes of it is in tests/chart"
    MACHINE = "changes the services of a machine, as root; tests.integration.test_contrib starts the units"
    RUNNING = (
        "reaches the daemon of a store; tests.integration.test_admin_commands runs such commands"
    )
    BUCKET = "needs AWS and its command"


SCRIPTS: dict[str, list[tuple[str, How]]] = {
    "README.md": [
        ("make run    # installs", How.STAGE),
        ("curl http://127.0.0.1:8080/v2/", How.RUN),
        ("skopeo copy", How.CLIENT),
        ("python3 -m venv /opt/oci-registry", How.STAGE),
        ("docker compose", How.ENGINE),
        ("export S3_ACCESS_KEY=", How.DAEMON),
        ("oci-registry setup docker", How.RUN),
    ],
    "charts/oci-registry/README.md": [
        ("docker build", How.ENGINE),
        ("helm install", How.CLUSTER),
        ("kubectl --namespace images create secret", How.CLUSTER),
        ("kubectl --namespace images create secret", How.CLUSTER),
    ],
    "docs/how-to/administer.md": [
        ("oci-registry top", How.RUNNING),
        ("oci-registry log", How.RUNNING),
        ("oci-registry ls", How.RUNNING),
        ("oci-registry rm", How.RUNNING),
        ("(umask 077; openssl rand", How.DAEMON),
        ("oci-registry top --admin", How.RUNNING),
        ("kubectl --namespace images create secret", How.CLUSTER),
        ("curl -s --unix-socket", How.RUNNING),
    ],
    "docs/how-to/backup.md": [
        ("tar --create", How.RUN),
        ("helm get values", How.CLUSTER),
        ("rsync -a /var/lib/oci-registry/repositories", How.RUN),
        ("rsync -a /media/disk/images/", How.RUN),
        ("chmod -R u+w", How.RUN),
    ],
    "docs/how-to/behind-a-proxy.md": [("export HTTPS_PROXY=", How.DAEMON)],
    "docs/how-to/check-the-store.md": [
        ("oci-registry --scrub-interval 30d", How.DAEMON),
        ("oci-registry --scrub-interval 30d --scrub-rate", How.DAEMON),
        ("oci-registry scrub --root", How.RUN),
        ("oci-registry scrub s3", How.BUCKET),
    ],
    "docs/how-to/check-clients.md": [
        ("journalctl --unit oci-registry", How.RUN),
        ("curl -sI 'http://mirror.example:8080", How.RUN),
        ("curl -s http://mirror.example:8080/metrics", How.RUN),
        ("echo '0.0.0.0 registry-1.docker.io", How.MACHINE),
        ("sed -i '/registry-1.docker.io/d'", How.MACHINE),
        ("docker image rm", How.ENGINE),
        ("ctr --debug content fetch", How.CLIENT),
        ("containerd config dump", How.CLIENT),
        ("podman --log-level debug pull", How.CLIENT),
        ("k3s crictl rmi", How.CLIENT),
        ("docker buildx prune", How.ENGINE),
        ("docker exec buildx_buildkit", How.ENGINE),
        ("kubectl run check", How.CLUSTER),
    ],
    "docs/how-to/ci.md": [
        ("oci-registry setup --check", How.RUN),
        ("oci-registry setup buildkit", How.RUN),
        ("docker buildx create", How.ENGINE),
    ],
    "docs/how-to/containerd.md": [
        ("oci-registry setup containerd", How.RUN),
        ("ctr images pull", How.CLIENT),
    ],
    "docs/how-to/cri-o-and-podman.md": [
        ("oci-registry setup podman", How.RUN),
        ("skopeo list-tags", How.CLIENT),
        ("podman pull", How.CLIENT),
    ],
    "docs/how-to/docker.md": [
        ("oci-registry setup docker", How.RUN),
        ("docker pull", How.CLIENT),
    ],
    "docs/how-to/control-tags.md": [
        ("oci-registry history", How.RUN),
        ("curl -s http://mirror.example:8080/v2/library/busybox/_oci-registry", How.RUN),
        ("oci-registry rollback", How.RUN),
        ("oci-registry rollback busybox --admin", How.RUNNING),
        ("oci-registry hold", How.RUN),
        ("oci-registry history", How.RUN),
    ],
    "docs/how-to/docker-hub.md": [
        ("chmod 600 upstreams.yaml docker-hub-token", How.DAEMON),
        ("export UPSTREAM_CREDENTIALS=", How.RUN),
        ("curl --silent http://127.0.0.1:8080/metrics", How.RUN),
    ],
    "docs/how-to/faq.md": [
        ("oci-registry refresh", How.RUN),
        ("systemctl stop", How.MACHINE),
        ("kubectl --namespace images exec", How.CLUSTER),
        ("oci-registry ls", How.RUN),
    ],
    "docs/how-to/k3s.md": [
        ("oci-registry setup k3s", How.RUN),
        ("k3s crictl pull", How.CLIENT),
    ],
    "docs/how-to/kubernetes.md": [
        ("docker build", How.ENGINE),
        ("helm install", How.CLUSTER),
        ("helm install", How.CLUSTER),
        ("helm upgrade", How.CLUSTER),
        ("helm get notes", How.CLUSTER),
        ("oci-registry setup containerd", How.RUN),
        ("crictl pull", How.CLUSTER),
        ("kubectl --namespace images create secret", How.CLUSTER),
        ("helm upgrade", How.CLUSTER),
    ],
    "docs/how-to/limit-the-disk.md": [
        ("oci-registry --max-size 200GiB", How.DAEMON),
        ("oci-registry --max-size 80% --min-free", How.DAEMON),
        ("oci-registry --max-size 2TiB s3", How.DAEMON),
    ],
    "docs/how-to/look-after-the-store.md": [
        ("oci-registry du", How.RUN),
        ("oci-registry why", How.RUN),
        ("oci-registry rm", How.RUN),
        ("oci-registry refresh", How.RUN),
        ("oci-registry pin", How.RUN),
        ("oci-registry completion bash", How.RUN),
    ],
    "docs/explanation/eviction.md": [("make simulate", How.STAGE)],
    "docs/how-to/monitoring.md": [
        ("kubectl --namespace images get pods", How.CLUSTER),
        ("journalctl --unit oci-registry", How.RUN),
        ("for days in", How.RUN),
    ],
    "docs/how-to/offline.md": [
        ("oci-registry --listen 127.0.0.1:8080", How.DAEMON),
        ("oci-registry warm", How.RUN),
        ("oci-registry export", How.RUN),
        ("oci-registry import", How.RUN),
        ("oci-registry --listen 0.0.0.0:8080 --offline", How.DAEMON),
        ("while read -r image; do", How.CLIENT),
        ("oci-registry export", How.RUN),
        ("rsync -a ./warm/repositories", How.RUN),
        ("rsync -a /media/disk/images/", How.RUN),
        ("chmod -R u+w", How.RUN),
    ],
    "docs/how-to/operate.md": [
        ("oci-registry --check-config", How.RUN),
        ("oci-registry --listen 0.0.0.0:8080 --admin-listen", How.DAEMON),
        ("journalctl --unit oci-registry --output cat | grep", How.RUN),
        ("journalctl --unit oci-registry --output cat | \\", How.RUN),
    ],
    "docs/how-to/private-registries.md": [
        ("chmod 600 upstreams.yaml", How.DAEMON),
        ("export UPSTREAM_CREDENTIALS=", How.RUN),
        ("export HTTPS_PROXY=", How.RUN),
        ("oci-registry --upstreams configured", How.DAEMON),
    ],
    "docs/how-to/run-as-a-service.md": [
        ("python3 -m venv", How.MACHINE),
        ("LOG_FORMAT=json", How.RUN),
        ("docker build", How.ENGINE),
        ("docker compose", How.ENGINE),
    ],
    "docs/how-to/s3.md": [
        ("export S3_ACCESS_KEY=", How.DAEMON),
        ("oci-registry --listen 0.0.0.0:8080 s3", How.DAEMON),
        ("export S3_PROXY=", How.DAEMON),
        ("oci-registry s3 --host", How.DAEMON),
        ("oci-registry ls --admin", How.RUNNING),
        ("oci-registry --listen 0.0.0.0:8080 s3 --bucket oci-registry --redirect", How.DAEMON),
        ("aws s3 sync", How.BUCKET),
    ],
    "docs/how-to/status-page.md": [
        ("(umask 077; openssl rand", How.DAEMON),
        ("kubectl --namespace images port-forward", How.CLUSTER),
    ],
    "docs/how-to/take-over-a-directory.md": [("chmod -R u+rwX", How.RUN)],
    "docs/how-to/talos.md": [("talosctl", How.CLUSTER)],
    "docs/how-to/tls.md": [
        ("oci-registry", How.DAEMON),
        ("oci-registry --listen 127.0.0.1:8080 --listen ssl:", How.DAEMON),
        ("openssl req", How.RUN),
        ("oci-registry --listen haproxy:", How.DAEMON),
        ("curl -sI https://mirror.example/", How.RUN),
    ],
    "docs/how-to/troubleshooting.md": [("curl -s http://127.0.0.1:8080/readyz", How.RUN)],
    "docs/how-to/upgrade.md": [
        ("oci-registry --check-config", How.RUN),
        ("/opt/oci-registry/bin/pip install", How.MACHINE),
        ("helm upgrade", How.CLUSTER),
        ("helm history", How.CLUSTER),
        ("helm uninstall", How.CLUSTER),
        ("helm upgrade", How.CLUSTER),
    ],
    "docs/how-to/upgrade-from-the-original.md": [
        ("oci-registry --check-config", How.RUN),
        ("helm install", How.CLUSTER),
        ("chmod -R u+w", How.RUN),
    ],
    "docs/how-to/warm.md": [
        ("oci-registry warm --root", How.RUNNING),
        ("oci-registry warm --url http://mirror.example:8080 docker.io", How.RUN),
        ("oci-registry warm --url http://mirror.example:8080 --platform", How.RUN),
        ("oci-registry warm --url http://mirror.example:8080 --from-kubernetes", How.CLUSTER),
        ("kubectl get pods --all-namespaces", How.CLUSTER),
    ],
    "docs/reference/store-layout.md": [("chmod -R u+w", How.RUN)],
    "docs/tutorials/cluster.md": [
        ("kind create cluster", How.CLUSTER),
        ("helm install", How.CLUSTER),
        ("address=$(kubectl", How.RUN),
        ("kubectl run first", How.CLUSTER),
        ("kubectl delete pod first", How.CLUSTER),
        ("kubectl get --raw", How.CLUSTER),
        ("kind delete cluster", How.CLUSTER),
    ],
    "docs/tutorials/first-mirror.md": [
        ("make run", How.TUTORIAL),
        ("$ curl http://127.0.0.1:8080/v2/", How.TUTORIAL),
        ("curl -sI http://127.0.0.1:8080/v2/library/busybox", How.TUTORIAL),
        ("curl -sI http://127.0.0.1:8080/v2/quay.io/", How.TUTORIAL),
        ("skopeo copy", How.CLIENT),
        ("podman pull", How.CLIENT),
        ("ctr images pull", How.CLIENT),
        ("$ find cache -type f", How.TUTORIAL),
        ("curl -s http://127.0.0.1:8080/metrics", How.TUTORIAL),
    ],
}
