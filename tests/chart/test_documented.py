"""The commands of helm in the documentation, on which no cluster acts."""

from __future__ import annotations

import shlex
from pathlib import Path

from tests.chart.support import ChartTestCase
from tests.docs.blocks import ROOT, shown_blocks
from tools.chart import helm
from tools.kube_schemas import read_documents

# What has no meaning without a cluster.
_NOT_FOR_TEMPLATES = {"--create-namespace", "--reset-then-reuse-values"}


def commands() -> list[tuple[str, list[str]]]:
    """Return each command that installs the chart or changes a release, with where it is."""
    return [
        (block.where, words)
        for block in shown_blocks("sh")
        for line in block.commands
        if (words := shlex.split(line, comments=True))[:1] == ["helm"]
        and words[1] in ("install", "upgrade")
    ]


def as_template(words: list[str]) -> list[str]:
    """Return the arguments that render what a command would install."""
    return ["template", *(each for each in words[2:] if each not in _NOT_FOR_TEMPLATES)]


class Documented(ChartTestCase):
    """Every `helm install` and `helm upgrade` that is shown, and values for them."""

    def setUp(self) -> None:
        super().setUp()
        # A checkout with a file of the reader's own in it.
        self.checkout = Path(self.mktemp()).absolute()
        self.checkout.mkdir(parents=True)
        (self.checkout / "charts").symlink_to(ROOT / "charts")
        self.values = self.checkout / "values.yaml"
        self.values.write_text("registry: {upstreams: any}\n", "utf-8")

    def test_renders(self) -> None:
        """Each command's chart and values are accepted, and make a workload."""
        found = commands()
        self.assertIn("docs/tutorials/cluster.md", {where.partition(":")[0] for where, _ in found})
        for where, words in found:
            output = helm.run(*as_template(words), directory=self.checkout)
            kinds = {each["kind"] for each in read_documents(output)}
            self.assertTrue(kinds & {"Deployment", "DaemonSet", "StatefulSet"}, where)

    def test_refused(self) -> None:
        """A value that the chart does not know is not accepted in a command."""
        wrong = ["helm", "install", "images", "charts/oci-registry", "--set", "replicsa=2"]
        with self.assertRaises(helm.HelmFailed):
            helm.run(*as_template(wrong), directory=self.checkout)
        helm.run(*as_template([*wrong[:-1], "replicas=1"]), directory=self.checkout)

    def test_values(self) -> None:
        """The values that the page of the chart shows are accepted by it."""
        found = shown_blocks("yaml", page="charts/oci-registry/README.md")
        self.assertTrue(found)
        for block in found:
            self.values.write_text(block.text, "utf-8")
            self.assertTrue(helm.objects(self.values), block.where)

    def test_tutorial(self) -> None:
        """What the tutorial makes has the names, the image and the port that it continues with."""
        (words,) = [w for where, w in commands() if where.startswith("docs/tutorials/cluster.md")]
        objects = {
            f"{each['kind']}/{each['metadata']['name']}": each
            for each in read_documents(helm.run(*as_template(words), directory=self.checkout))
        }
        page = (ROOT / "docs/tutorials/cluster.md").read_text("utf-8")
        pod = objects["Deployment/images-oci-registry"]["spec"]["template"]["spec"]
        self.assertIn(f"kind load docker-image {pod['containers'][0]['image']}\n", page)
        (port,) = objects["Service/images-oci-registry"]["spec"]["ports"]
        self.assertEqual(80, port["port"])
        (port,) = objects["Service/images-oci-registry-metrics"]["spec"]["ports"]
        self.assertIn(f"services/images-oci-registry-metrics:{port['name']}/proxy/metrics", page)

    def test_values_of_upgrades(self) -> None:
        """No command keeps old values without the defaults of a new chart."""
        found = 0
        for page in sorted(
            [*(ROOT / "docs").rglob("*.md"), ROOT / "charts/oci-registry/README.md"]
        ):
            for line in page.read_text("utf-8").splitlines():
                if line.startswith(("helm upgrade", "    helm upgrade")):
                    self.assertNotIn(" --reuse-values", line, page)
                    found += 1
        self.assertGreater(found, 0)
