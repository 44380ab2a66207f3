"""WWW-Authenticate."""

from __future__ import annotations

import time

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.spec.challenge import Challenge, parse_challenges, read_lines

TOKEN_CHARACTERS = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
TOKENS = st.text(st.sampled_from(TOKEN_CHARACTERS), min_size=1, max_size=10)
VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"))
HOSTILE = st.text(st.sampled_from('ab=",\\ \t/;\x00\n\u00e9~'), max_size=60)


def parse(*values: str) -> list[tuple[str, dict[str, str]]]:
    """The challenges in plain tuples."""
    return [(found.scheme, dict(found.params)) for found in parse_challenges(values)]


def quoted(text: str) -> str:
    """``text`` as a quoted-string."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class Good(SynchronousTestCase):
    """Challenges as the RFC has them."""

    def test_docker_hub(self) -> None:
        """A bearer challenge is read, commas in quotes and all."""
        header = (
            'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",'
            'scope="repository:library/busybox:pull,push",error="invalid_token"'
        )
        self.assertEqual(
            parse(header),
            [
                (
                    "bearer",
                    {
                        "realm": "https://auth.docker.io/token",
                        "service": "registry.docker.io",
                        "scope": "repository:library/busybox:pull,push",
                        "error": "invalid_token",
                    },
                )
            ],
        )

    def test_several_in_one_line(self) -> None:
        """Several challenges may share a line (the example of RFC 9110, 11.6.1)."""
        header = 'Basic realm="simple", Newauth realm="apps", type=1, title="Login to \\"apps\\""'
        self.assertEqual(
            parse(header),
            [
                ("basic", {"realm": "simple"}),
                ("newauth", {"realm": "apps", "type": "1", "title": 'Login to "apps"'}),
            ],
        )

    def test_several_lines(self) -> None:
        """Several lines are read one after the other."""
        self.assertEqual(
            parse('Basic realm="a"', "", "Bearer realm=b"),
            [("basic", {"realm": "a"}), ("bearer", {"realm": "b"})],
        )

    def test_variants(self) -> None:
        """Space, case, empty elements and empty values are read as the RFC allows."""
        for header, expected in {
            "Basic": [("basic", {})],
            "BASIC": [("basic", {})],
            "Basic, Bearer": [("basic", {}), ("bearer", {})],
            "Basic,Bearer realm=x": [("basic", {}), ("bearer", {"realm": "x"})],
            'Basic REALM="X"': [("basic", {"realm": "X"})],
            'Basic realm = "x" , charset = utf-8': [("basic", {"realm": "x", "charset": "utf-8"})],
            'Basic\trealm\t=\t"x"': [("basic", {"realm": "x"})],
            'Basic   realm="x"': [("basic", {"realm": "x"})],
            ' , ,Basic realm="x",,, a=b, ,': [("basic", {"realm": "x", "a": "b"})],
            'Basic realm=""': [("basic", {"realm": ""})],
            'Basic realm="a\\\\b\\"c\\d"': [("basic", {"realm": 'a\\b"cd'})],
            'Basic realm="caf\u00e9\ttab"': [("basic", {"realm": "caf\u00e9\ttab"})],
        }.items():
            self.assertEqual(parse(header), expected, header)

    def test_token68(self) -> None:
        """A token68 is read over, and what follows it is read."""
        for header in (
            'Negotiate YII+/a.b_c~-==, Basic realm="x"',
            'Negotiate a=, Basic realm="x"',
            'Negotiate abc, Basic realm="x"',
            'Negotiate abc/def , Basic realm="x"',
        ):
            self.assertEqual(parse(header), [("negotiate", {}), ("basic", {"realm": "x"})], header)

    def test_without_quotes(self) -> None:
        """A URL or a scope that lacks its quotes is read up to a space or a comma."""
        for header, params in {
            "Bearer realm=https://a.example/t?x=y,service=s": {
                "realm": "https://a.example/t?x=y",
                "service": "s",
            },
            "Bearer scope=repository:a/b:pull , a=b": {"scope": "repository:a/b:pull", "a": "b"},
            'Bearer realm=x"y", a=b': {"realm": "x", "a": "b"},
            "Bearer realm=x\x00y, a=b": {"realm": "x", "a": "b"},
        }.items():
            self.assertEqual(parse(header), [("bearer", params)], header)

    def test_lines(self) -> None:
        """Lines are read from bytes, the first 16, and can be turned into them again."""
        raw = [b"Basic realm=\xc3\xbc", b'Basic realm="\xfc"']
        lines = read_lines(raw)
        self.assertEqual([line.encode("utf-8", "surrogateescape") for line in lines], raw)
        self.assertEqual(parse(*lines)[0], ("basic", {}))
        self.assertEqual(parse(*lines)[1], ("basic", {"realm": "\udcfc"}))
        self.assertEqual(16, len(read_lines([b"Basic"] * 1000)))

    def test_without_a_parameter(self) -> None:
        """A parameter can be left out, if it is there."""
        (challenge,) = parse_challenges(["Bearer realm=x, scope=y"])
        self.assertEqual(challenge.without("scope"), Challenge("bearer", {"realm": "x"}))
        self.assertEqual(challenge.without("z"), challenge)

    def test_as_a_value(self) -> None:
        """A challenge is a value that cannot be changed."""
        (challenge,) = parse_challenges(["Basic realm=x"])
        self.assertEqual(challenge, Challenge("basic", {"realm": "x"}))
        self.assertEqual(hash(challenge), hash(Challenge("basic", {"realm": "x"})))
        with self.assertRaises(TypeError):
            challenge.params["realm"] = "y"  # type: ignore[index]

    @settings(deadline=None)
    @given(
        st.lists(
            st.tuples(TOKENS, st.dictionaries(TOKENS, VALUES, min_size=1, max_size=4)), max_size=4
        ),
        st.booleans(),
    )
    def test_round_trip(self, wanted: list[tuple[str, dict[str, str]]], one_line: bool) -> None:
        """Any challenges written by the RFC are read, in one line or in several."""
        lines = [
            f"{scheme} " + ", ".join(f"{key}={quoted(value)}" for key, value in params.items())
            for scheme, params in wanted
        ]
        self.assertEqual(parse(", ".join(lines)) if one_line else parse(*lines), wanted)


class Bad(SynchronousTestCase):
    """Challenges as strangers have them."""

    def test_dropped(self) -> None:
        """What cannot be parsed is dropped, and no more than that."""
        for header, expected in {
            "": [],
            ",": [],
            "=": [],
            '"': [],
            '"Basic realm=x"': [],
            "realm=x": [],
            'realm="x", Basic realm="y"': [("basic", {"realm": "y"})],
            "\u00e9, Basic realm=y": [("basic", {"realm": "y"})],
            'Basic realm="x': [("basic", {})],
            'Basic realm="x\\': [("basic", {})],
            'Basic realm="x, a=b': [("basic", {})],
            "Basic realm=, a=b": [("basic", {"a": "b"})],
            "Basic a=b, realm=": [("basic", {"a": "b"})],
            "Basic a=b, =c, d=e": [("basic", {"a": "b", "d": "e"})],
            'Basic a="b"x, d=e': [("basic", {"a": "b", "d": "e"})],
            "Basic a=b c=d, e=f": [("basic", {"a": "b", "e": "f"})],
            'Basic "x, y", a=b': [("basic", {"a": "b"})],
            'Basic a="b\x00", c=d': [("basic", {"c": "d"})],
            'Basic a="b\r\nX: y", c=d': [("basic", {"c": "d"})],
            "Basic realm=x, realm=y": [("basic", {"realm": "x"})],
            "Basic realm=x, REALM=y": [("basic", {"realm": "x"})],
            "Bearer\u00a0realm=x, a=b": [("bearer", {"a": "b"})],
        }.items():
            self.assertEqual(parse(header), expected, header)

    def test_too_long(self) -> None:
        """A line of more than 8 KiB is dropped, the others are read."""
        longest = 'Basic realm="' + "x" * (8192 - 14) + '"'
        self.assertEqual(len(parse(longest)), 1)
        self.assertEqual(parse(longest + " ", "Bearer"), [("bearer", {})])

    def test_linear_time(self) -> None:
        """No line of 8 KiB takes noticeable time."""
        began = time.process_time()
        for piece in (
            *('"', "a", " ", ",", "=", "\\", "a ", "a=", 'a="', "a=\\", "a,", "a =", '"\\'),
            *('a b="\\"', "a b=", "a" + " " * 90, "a b" + "=" * 90, 'a "', '", "', "a\t=\t"),
        ):
            for start in ("", "a ", 'a b="'):
                parse((start + piece * 8192)[:8192])
        self.assertLess(time.process_time() - began, 2)

    @settings(deadline=None)
    @given(st.lists(HOSTILE | st.text(), max_size=3))
    def test_any_lines(self, lines: list[str]) -> None:
        """Any lines are read without a complaint, and nothing read could split a header."""
        for scheme, params in parse(*lines):
            self.assertEqual(scheme, scheme.lower())
            for key, value in params.items():
                self.assertEqual(key, key.lower())
                self.assertFalse(set(value) & set("\r\n\x00"))
