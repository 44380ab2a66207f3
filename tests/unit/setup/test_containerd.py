"""containerd's directories."""

from __future__ import annotations

import tomllib

from oci_registry.setup.containerd import CONFIG_TOML, FOLDER, configure

from .support import HTTP, HTTPS, GeneratorTestCase


class Containerd(GeneratorTestCase):
    """Files for containerd."""

    generator = staticmethod(configure)
    path = "/etc/containerd/config.toml"

    def test_registry(self) -> None:
        """Each registry has a directory of its name, with its server and the mirror before it."""
        files = self.configure("docker.io", "r.example:5000", url=HTTPS).files
        mirror = {HTTPS: {"capabilities": ["pull", "resolve"]}}
        self.assertEqual(
            {path: tomllib.loads(text) for path, text in files.items()},
            {
                f"{FOLDER}/docker.io/hosts.toml": {
                    "server": "https://registry-1.docker.io",
                    "host": mirror,
                },
                f"{FOLDER}/r.example:5000/hosts.toml": {
                    "server": "https://r.example:5000",
                    "host": mirror,
                },
                f"{FOLDER}/_default/hosts.toml": {"host": mirror},
            },
        )

    def test_address(self) -> None:
        """The mirror may be an IPv6 address."""
        files = self.configure(url="http://[fd00::1]:8080").files
        for text in files.values():
            self.assertEqual(list(tomllib.loads(text)["host"]), ["http://[fd00::1]:8080"])

    def test_config_toml(self) -> None:
        """What config.toml must say is told for both versions, and that file is never written."""
        made = self.configure(existing="version = 2\n")
        self.assertNotIn(self.path, made.files)
        (note,) = made.notes
        for text in CONFIG_TOML.values():
            self.assertIn(text, note)
        one, two = (tomllib.loads(text) for text in CONFIG_TOML.values())
        self.assertEqual(one["version"], 2)
        registry = one["plugins"]["io.containerd.grpc.v1.cri"]["registry"]
        self.assertEqual(registry, {"config_path": FOLDER})
        self.assertEqual(two["version"], 3)
        registry = two["plugins"]["io.containerd.cri.v1.images"]["registry"]
        self.assertEqual(registry, {"config_path": FOLDER})

    def test_no_fallback(self) -> None:
        """Without a fallback the mirror is the server too, of all registries."""
        made = self.configure("docker.io", fallback=False)
        for name in ("docker.io", "_default"):
            document = tomllib.loads(made.files[f"/etc/containerd/certs.d/{name}/hosts.toml"])
            self.assertEqual(document["server"], HTTP)
            self.assertEqual(document["host"], {HTTP: {"capabilities": ["pull", "resolve"]}})
            self.assertEqual(document["capabilities"], ["pull", "resolve"])

    def test_no_default(self) -> None:
        """Registries that are not named can be left alone."""
        made = self.configure("docker.io", others=False)
        self.assertEqual(list(made.files), ["/etc/containerd/certs.d/docker.io/hosts.toml"])
