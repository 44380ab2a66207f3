"""The Link header of paged lists."""

from __future__ import annotations

import contextlib
import time

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from oci_registry.spec.links import BadLink, format_next_link, parse_next_link

TARGET = "/v2/a/tags/list?last=b&n=2"
URIS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1).filter(
    # "&amp;" is read as "&", since some registries write it so.
    lambda text: not set(text) & set('<>"\\^`{|}') and "&amp;" not in text
)


class Good(SynchronousTestCase):
    """Links as the RFC has them."""

    def test_found(self) -> None:
        """The link to the next page is found, however it is written."""
        for header in (
            f'<{TARGET}>; rel="next"',
            f"<{TARGET}>; rel=next",
            f"<{TARGET}>;rel=next",
            f'<{TARGET}> ; rel = "next"',
            f'<{TARGET}>;\trel="next"\t',
            f'<{TARGET}>; REL="NEXT"',
            f'<{TARGET}>; rel="prev next last"',
            f'<{TARGET}>; rel="ne\\xt"',
            f'<{TARGET}>; title="a, b; c"; rel="next"',
            f'<{TARGET}>; title="\\", <x>; rel=last"; rel="next"',
            f'<{TARGET}>; rel="next"; type="text/plain"; crossorigin',
            f'<{TARGET}>; crossorigin; rel="next"',
            f"<{TARGET}>; ; rel=next;",
            f"<{TARGET}>; rel=next, <x>; rel=next",
            f"<x>; rel=last, <{TARGET}>; rel=next",
            f'<x>, <{TARGET}>; rel="next"',
            f"<x,y;rel=next>; rel=last, <{TARGET}>; rel=next",
            f", ,<{TARGET}>; rel=next,",
            f"<x>; rel=last; rel=next, <{TARGET}>; rel=next",
        ):
            self.assertEqual(parse_next_link([header]), TARGET, header)

    def test_absolute(self) -> None:
        """The target is as it came, relative or absolute."""
        for target in ("https://r.example/v2/a?n=1", "//r.example/v2/", "?last=b", "#", "a"):
            self.assertEqual(parse_next_link([f'<{target}>; rel="next"']), target)

    def test_several_lines(self) -> None:
        """Every line is looked at."""
        self.assertEqual(
            parse_next_link(["<x>; rel=last", "nonsense", f"<{TARGET}>; rel=next"]), TARGET
        )

    @settings(deadline=None)
    @given(URIS)
    def test_round_trip(self, target: str) -> None:
        """Any URI that is written is read as the same."""
        self.assertEqual(parse_next_link([format_next_link(target)]), target)


class Lenient(SynchronousTestCase):
    """Links as registries have them."""

    def test_without_relation(self) -> None:
        """A link that does not say where it leads, leads to the next page."""
        for header in (
            f"<{TARGET}>",
            f"<{TARGET}>;",
            f"<{TARGET}>; rel",
            f"<{TARGET}>; rel=",
            f'<{TARGET}>; rel=""',
            f'<{TARGET}>; rel="next',
            f'<{TARGET}>; title="rel=last"',
            f"<{TARGET}>; rev=last",
            f"<{TARGET}> rel=next",
            f"<x>; rel=last, <{TARGET}>",
            f"<a b>, <{TARGET}>",
        ):
            self.assertEqual(parse_next_link([header]), TARGET, header)
        self.assertEqual(parse_next_link([f"<x>, <{TARGET}>; rel=next"]), TARGET)

    def test_without_brackets(self) -> None:
        """The target may stand by itself."""
        for header in (
            TARGET,
            f"{TARGET}; rel=next",
            f'{TARGET} ; rel="next", x; rel=last',
            f"x; rel=last, {TARGET}; rel=next",
        ):
            self.assertEqual(parse_next_link([header]), TARGET, header)
        self.assertEqual(parse_next_link(["/a?last=b,c; rel=next"]), "/a?last=b,c")

    def test_blanks_and_entities(self) -> None:
        """Blanks inside the brackets are none of the target's, and an escape of HTML is undone."""
        for header in (
            f'< {TARGET} >; rel="next"',
            f"<\t{TARGET}>; rel=next",
            f"<{TARGET.replace('&', '&amp;')}>; rel=next",
        ):
            self.assertEqual(parse_next_link([header]), TARGET, header)


class Bad(SynchronousTestCase):
    """Links as strangers have them."""

    def test_none(self) -> None:
        """There is no next page where no link says so."""
        for header in (
            "",
            ",",
            f"<{TARGET}>; rel=last",
            f"<{TARGET}>; rel=nextpage",
            f"<{TARGET}>; rel=last; rel=next",
            f'</v2/>; rel="first", <{TARGET}>; rel="prev"',
        ):
            self.assertIsNone(parse_next_link([header]), header)
        self.assertIsNone(parse_next_link([]))

    def test_uncertain(self) -> None:
        """Where something is a link but cannot be read, the list may continue, and that is an error."""
        for header in (
            "<",
            "<>",
            "<>; rel=next",
            f"<{TARGET}; rel=next",
            f'"<{TARGET}>; rel=next"',
            "<a b>; rel=next",
            "<a\x00>; rel=next",
            "<a\r\nX: y>; rel=next",
            "<a<b>; rel=next",
            "<x>; rel=last, <a b>; rel=next",
        ):
            self.assertRaises(BadLink, parse_next_link, [header])

    def test_malformed_links_are_passed_over(self) -> None:
        """A malformed link takes no other one along."""
        for header in (
            f"nonsense, <{TARGET}>; rel=next",
            f"<a b>; rel=next, <{TARGET}>; rel=next",
            f'<x>; rel="last" nonsense, <{TARGET}>; rel=next',
            f'<x>; "y, z", <{TARGET}>; rel=next',
            f"x <y>; rel=last, <{TARGET}>; rel=next",
        ):
            self.assertEqual(parse_next_link([header]), TARGET, header)

    def test_too_long(self) -> None:
        """A line of more than 8 KiB is not read."""
        header = f"<{TARGET}>; rel=next"
        self.assertEqual(parse_next_link([header.ljust(8192)]), TARGET)
        self.assertRaises(BadLink, parse_next_link, [header.ljust(8193)])
        self.assertEqual(parse_next_link([header.ljust(8193), header]), TARGET)

    def test_linear_time(self) -> None:
        """No line of 8 KiB takes noticeable time."""
        began = time.process_time()
        for piece in (
            *("<", "<a", "<a>", "<a>;", ";", "; ", ";a", ";a=", ';a="', ";a=b", '"', '"\\', "\\"),
            *(" ", ",", "<>,", "a" + " " * 90, "<a> " + " " * 90, '",<', ">", "; a = "),
            *("a,", "a,,", "a, ", "a;", "a "),
        ):
            for start in ("", "<a>", '<a>;a="', "<a>;"):
                with contextlib.suppress(BadLink):
                    parse_next_link([(start + piece * 8192)[:8192]])
        self.assertLess(time.process_time() - began, 3)

    def test_escaped_newline(self) -> None:
        """A quoted text with an escaped newline ends like any other."""
        for line in ('"\\\n', '"\\\n"', '"\\\n", <'):
            with self.assertRaises(BadLink):
                parse_next_link([line])
        self.assertEqual("b", parse_next_link(['"\\\n", <b>; rel="\\\nnext"']))

    @settings(deadline=None)
    @given(st.lists(st.text(st.sampled_from('<>a;=", \\relnxt\n&'), max_size=60) | st.text()))
    def test_any_lines(self, lines: list[str]) -> None:
        """Any lines hold a target that is one word, or none, or are malformed."""
        with contextlib.suppress(BadLink):
            target = parse_next_link(lines)
            if target is not None:
                self.assertNotRegex(target, r"[\x00-\x20\x7f]|\A\Z")


class Written(SynchronousTestCase):
    """Links of our own."""

    def test_format(self) -> None:
        """The link is written as the distribution spec has it."""
        self.assertEqual(format_next_link(TARGET), f'<{TARGET}>; rel="next"')

    def test_nothing_breaks_out(self) -> None:
        """What no URI may hold is percent-encoded, and an escape stays one."""
        self.assertEqual(
            format_next_link('a>; rel="x"\r\nX: \u00e9%20'),
            '<a%3E;%20rel=%22x%22%0D%0AX:%20%C3%A9%20>; rel="next"',
        )
        self.assertEqual(format_next_link("a\ud800b"), '<a?b>; rel="next"')

    @settings(deadline=None)
    @given(st.text(st.characters(), min_size=1))
    def test_any_target(self, target: str) -> None:
        """Any text makes one header line with one link."""
        line = format_next_link(target)
        self.assertRegex(line, r'\A<[\x21-\x7e]+>; rel="next"\Z')
        self.assertIsNotNone(parse_next_link([line]))
