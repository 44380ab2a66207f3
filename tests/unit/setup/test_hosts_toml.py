"""hosts.toml files of others, to which the mirror is added."""

from __future__ import annotations

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from oci_registry.setup.containerd import FOLDER, configure
from oci_registry.setup.nouns import Configuration

from .support import AUTHORITY, HTTP, HTTPS, GeneratorTestCase

NAME = "r.example:5000"
PRIVATE = """\
# ours
server = "https://r.example:5000"
ca = "/etc/ssl/ours.pem"
skip_verify = false
client = [
  ["/etc/ssl/client.cert", "/etc/ssl/client.key"],
]

# the other side of the street
[host."https://other.example"]
  capabilities = ["pull"]
  ca = ["a.pem", "b.pem"]
  [host."https://other.example".header]
    x-token = ["s3cret"]

[host."https://third.example"]
[header]
  x-token = "s3cret"
"""
TABLE = {"capabilities": ["pull", "resolve"]}
LINES = st.sampled_from(
    [
        'server = "https://r.example"\n',
        "# a comment\n",
        'client = [\n ["a"],\n]\n',
        'x = """\n[host]\n"""\n',
        '[host."http://a.example"]\n',
        '[host."http://mirror.example:8080"]\n',
        'ca = "ca.pem"\n',
        "[header]\n",
        "host = {}\n",
        'host."http://b.example".ca = "x"\n',
        "[[host]]\n",
        "\r\n",
        '"',
    ]
)


class HostsToml(GeneratorTestCase):
    """The file of one registry."""

    generator = staticmethod(configure)
    path = f"{FOLDER}/{NAME}/hosts.toml"

    def made(self, existing: str | bytes, **options: object) -> Configuration:
        return self.configure(NAME, existing=existing, others=False, **options)  # type: ignore[arg-type]

    def text(self, existing: str, **options: object) -> str:
        """The file with the mirror in it."""
        made = self.made(existing, **options)
        self.assertEqual((), made.unusable)
        return made.files[self.path]

    def reason(self, existing: str | bytes) -> str:
        """Why nothing can be added to a file, and that it is not replaced."""
        made = self.made(existing)
        self.assertEqual({}, made.files)
        (error,) = made.unusable
        self.assertEqual(self.path, error.path)
        self.assertNotIn("s3cret", error.reason)
        return error.reason

    def test_kept(self) -> None:
        """All that is in the file stays as it is written, and the mirror comes before the other hosts."""
        text = self.text(PRIVATE)
        self.assertEqual(
            PRIVATE, text.replace(f'[host."{HTTP}"]\n  capabilities = ["pull", "resolve"]\n\n', "")
        )
        before, after = tomllib.loads(PRIVATE), tomllib.loads(text)
        self.assertEqual([HTTP, *before["host"]], list(after["host"]))
        self.assertEqual(TABLE, after["host"].pop(HTTP))
        self.assertEqual(before, after)
        self.assertLess(text.index(HTTP), text.index("# the other side"))

    def test_again(self) -> None:
        """Once is enough, also if the mirror is not the first by its owner's will."""
        text = self.text(PRIVATE)
        self.assertEqual(text, self.text(text))
        own = PRIVATE + f'[host."{HTTP}/"]\n'
        self.assertEqual(own, self.text(own))

    def test_no_tables(self) -> None:
        """A file with settings of the server alone gets the mirror at its end."""
        text = self.text('server = "https://r.example:5000"\nca = "ours.pem"')
        self.assertEqual(
            {"server": "https://r.example:5000", "ca": "ours.pem", "host": {HTTP: TABLE}},
            tomllib.loads(text),
        )

    def test_comments(self) -> None:
        """A file without any setting is as a new one, with its comments."""
        text = self.text("# ours\n")
        self.assertTrue(text.startswith("# ours\n\n"))
        self.assertEqual(f"https://{NAME}", tomllib.loads(text)["server"])
        self.assertEqual(text, self.text(text))

    def test_authority(self) -> None:
        """The mirror's certificate authority is added to its table, or replaced there, alone."""
        text = self.text(PRIVATE, url=HTTPS)
        trusting = self.text(text, url=HTTPS, authority=AUTHORITY)
        new = self.text(PRIVATE, url=HTTPS, authority=AUTHORITY)
        self.assertEqual(tomllib.loads(new), tomllib.loads(trusting))
        table = {**TABLE, "ca": AUTHORITY.path}
        self.assertEqual(table, tomllib.loads(trusting)["host"][HTTPS])
        self.assertEqual(trusting, self.text(trusting, url=HTTPS, authority=AUTHORITY))
        other = trusting.replace(AUTHORITY.path, "/old.pem")
        self.assertEqual(trusting, self.text(other, url=HTTPS, authority=AUTHORITY))

    def test_own_authority(self) -> None:
        """One that somebody has written into the mirror's table stays, without a fallback too."""
        text = self.text("", url=HTTPS) + '  ca = "/mine.pem"\n'
        self.assertEqual(text, self.text(text, url=HTTPS))
        alone = self.text(text, url=HTTPS, fallback=False)
        self.assertEqual("/mine.pem", tomllib.loads(alone)["ca"])
        self.assertEqual(text, self.text(alone, url=HTTPS))

    def test_no_fallback(self) -> None:
        """Without a fallback only the mirror is in the file, and a note says where the rest is."""
        made = self.made(PRIVATE, fallback=False)
        self.assertEqual(self.text("", fallback=False), made.files[self.path])
        self.assertIn("other settings are in the previous file", made.notes[0])
        self.assertEqual(1, len(self.made(made.files[self.path], fallback=False).notes))

    def test_not_understood(self) -> None:
        """A file that is not understood, or cannot be changed, is a problem that says what to add."""
        for text in (
            "a = s3cret",
            "host = {}",
            'host = "s3cret"',
            '[host]\n"s3cret" = 1',
            'host."https://s3cret.example".ca = "a"',
            "x = [\n" + "[],\n" * 200 + ']\n[host."https://s3cret.example"]',
        ):
            self.assertIn(
                f'add before all other hosts [host."{HTTP}"]', self.reason(text), text[:40]
            )
        self.assertIn("line 1", self.reason("a = s3cret"))
        self.assertIn("UTF-8", self.reason(b"\xff"))
        self.assertIn("malformed", self.reason("a = " + "[" * 20_000))
        self.assertIn(
            "must have capabilities", self.reason(f'[host."{HTTP}"]\ncapabilities = ["pull"]')
        )

    def test_others_made(self) -> None:
        """A file that nothing can be added to does not delay the others."""
        made = self.configure(NAME, "quay.io", existing="a = s3cret")
        self.assertEqual(
            {f"{FOLDER}/quay.io/hosts.toml", f"{FOLDER}/_default/hosts.toml"}, set(made.files)
        )
        self.assertEqual([self.path], [each.path for each in made.unusable])

    @given(st.lists(LINES, max_size=8).map("".join))
    def test_anything(self, existing: str) -> None:
        """Whatever is in the file: it means the same afterwards, with the mirror, or it is a problem."""
        made = self.made(existing)
        if made.unusable:
            return
        after, before = tomllib.loads(made.files[self.path]), tomllib.loads(existing)
        if not before:
            before["server"] = f"https://{NAME}"
        table = before.setdefault("host", {}).pop(HTTP, TABLE)
        self.assertEqual(table, after["host"].pop(HTTP))
        self.assertEqual(list(before["host"]), list(after["host"]))
        self.assertEqual(before, after)
        self.assertEqual(made.files, self.made(made.files[self.path]).files)
