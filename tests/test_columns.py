"""Text tables, and what pages carry inside themselves."""

import base64
import hashlib
import json

import pytest

from hwsim import inline
from hwsim.columns import columns


def test_columns_are_as_wide_as_their_widest_cell_and_two_blanks_apart():
    rows = [("layer", "bytes", "of"), ("conv1", "7", "x"), ("a", "12345678", "long")]
    assert list(columns(rows, left={0, 2})) == [
        "layer     bytes  of",
        "conv1         7  x",
        "a      12345678  long",
    ]


def test_a_policy_names_what_it_allows_by_the_digest_of_its_bytes():
    method, _, digest = inline.source("let x;").strip("'").partition("-")
    assert base64.b64decode(digest) == hashlib.new(method, b"let x;").digest()


@pytest.mark.parametrize("text", ["</script>", "x = '</SCRIPT'", "<!-- x", "let x;\r\n"])
def test_a_script_that_could_end_its_element_is_refused(text):
    with pytest.raises(ValueError, match="cannot stand in a page"):
        inline.script(text)


def test_data_is_json_without_a_character_that_markup_knows():
    values = {"</script><!--": ["&amp;", "\u2028", 1.5]}
    text = inline.data(values)
    assert json.loads(text) == values
    assert text.isascii() and not set(text) & set("<>&")
