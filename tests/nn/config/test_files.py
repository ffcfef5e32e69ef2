"""Configuration files: comments, damage and parents."""

import copy
import json
import math
import os

import pytest

from nrc_tracer.nn import config
from nrc_tracer.nn.config import ConfigError
from tests.nn.config.documents import NERF


def test_comments_and_a_byte_order_mark(tmp_path):
    path = tmp_path / "model.json"
    text = """// first
    {"loss": /* here { [ " */ {"otype": "L1"}, // to the end "
     "snapshot": "http://x/*no*/\\\\", /**/ "parent": null /* two
     lines */ } // last"""
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert config.read_document(path) == {"loss": {"otype": "L1"}, "snapshot": "http://x/*no*/\\"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "line 1, column 1: Expecting value"),
        (b'{"a": 1,}', "line 1, column"),
        (b'/* a\n b */ {"a"\n: x}', "line 3, column 3: Expecting value"),
        (b'{"a": "no end', "line 1, column 7: Unterminated string"),
        (b'{"a": "no end\\', "Unterminated string"),
        (b"{}\n  /* no end", "line 2, column 3: a comment is not closed"),
        (b"{} / 2", "line 1, column 4: Extra data"),
        (b"[1]", "expected an object at the top, got an array"),
        (b'{"a": NaN}', "NaN is not a JSON number"),
        (b'{"a": -Infinity}', "-Infinity is not a JSON number"),
        (b'{"a": 1e999}', "1e999 is too large"),
        (b'{"a": 1, "b": 2, "a": 1}', 'the key "a" appears twice'),
        (b'{"a": ' + b"1" * 5000 + b"}", "an integer in the JSON has too many digits"),
        (b"[" * 100_000, "line 1, column 65: nested more than 64 deep"),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "nested more than 64 deep"),
        (b'{"a": "\xff"}', "not UTF-8 text"),
        (b" " * (16 * 2**20 + 1), "more than 16 MiB"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_malformed_files_are_refused(tmp_path, data, message):
    path = tmp_path / "model.json"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=message) as caught:
        config.read_document(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("source", ["no such file.json", "a\0b", "a\ud800b", os.curdir, 3, None], ids=repr)
def test_paths_that_are_not_files_are_refused(source):
    with pytest.raises(ConfigError):
        config.read_document(source)


@pytest.mark.parametrize("data", [b'"' * 2_000_001, b'"' + b'\\"' * 1_000_000, b"/*/" * 1_000_000, b"//" * 1_000_000])
def test_hostile_files_are_read_in_linear_time(tmp_path, data):
    (tmp_path / "model.json").write_bytes(data)
    with pytest.raises(ConfigError):
        config.read_document(tmp_path / "model.json")


def test_a_mapping_is_copied_and_checked():
    source = {"a": {"b": [1, (2, 3)]}}
    document = config.read_document(source)
    assert document == {"a": {"b": [1, [2, 3]]}}
    document["a"]["b"].append(4)
    assert source == {"a": {"b": [1, (2, 3)]}}
    deep = circle = {}
    for _ in range(70):
        deep = {"a": deep}
    circle["a"] = circle
    for bad in (deep, circle):
        with pytest.raises(ConfigError, match=r"nested more than 64 deep"):
            config.read_document(bad)
    with pytest.raises(ConfigError, match=r"a\[1\]: expected a finite number, got nan"):
        config.read_document({"a": [0, math.nan]})
    with pytest.raises(ConfigError, match=r"a: expected strings as keys, got 1"):
        config.read_document({"a": {1: 2}})
    with pytest.raises(ConfigError, match=r"a\.b: expected a value that JSON can hold, got a value of type set"):
        config.read_document({"a": {"b": {1}}})


def test_deeply_nested_parts_are_refused():
    encoding = optimizer = {}
    for _ in range(1000):
        encoding = {"otype": "Composite", "nested": [encoding]}
        optimizer = {"otype": "Ema", "nested": optimizer}
    with pytest.raises(ConfigError, match=r"nested more than 64 deep"):
        config.read_encoding(encoding)
    with pytest.raises(ConfigError, match=r"nested more than 64 deep"):
        config.read_optimizer(optimizer)


def test_a_parent_is_merged_from_its_own_folder(tmp_path):
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "root.json").write_text(
        '{"loss": {"otype": "L2"}, "envmap": {"a": 1}, "encoding": {"otype": "HashGrid", "n_levels": 4}}'
    )
    (tmp_path / "base" / "base.json").write_text('{"parent": "root.json", "encoding": {"n_levels": 5}, "list": [1, 2]}')
    child = tmp_path / "child.json"
    child.write_text('{"parent": "base/base.json", "envmap": null, "encoding": {"per_level_scale": 1.5}, "list": [3]}')
    expected = {
        "loss": {"otype": "L2"},
        "encoding": {"otype": "HashGrid", "n_levels": 5, "per_level_scale": 1.5},
        "list": [3],
    }
    assert config.read_document(child) == expected
    assert config.read_document({"parent": str(child)}) == expected
    # The configuration can be read again, because the key `parent` has been removed
    document = {key: expected[key] for key in ("loss", "encoding")}
    assert config.read_model(document).encoding == config.Grid(n_levels=5, per_level_scale=1.5)


def test_keys_of_a_parent_with_another_otype_give_no_warning(tmp_path):
    (tmp_path / "base.json").write_text(json.dumps(NERF))
    child = tmp_path / "child.json"
    child.write_text('{"parent": "base.json", "encoding": {"otype": "Frequency"}, "loss": {"otype": "L2"}}')
    model = config.read_model(child, dialect="instant-ngp")
    assert model.encoding == config.Frequency()


def test_parents_in_a_circle_are_refused(tmp_path):
    (tmp_path / "a.json").write_text('{"parent": "b.json"}')
    (tmp_path / "b.json").write_text(json.dumps({"parent": f"./../{tmp_path.name}/a.json"}))
    with pytest.raises(ConfigError, match=r"cycle: .*a.json -> .*b.json -> .*a.json$"):
        config.read_document(tmp_path / "a.json")
    (tmp_path / "a.json").write_text('{"parent": "a.json"}')
    with pytest.raises(ConfigError, match=r"cycle"):
        config.read_document({"parent": str(tmp_path / "a.json")})


def test_a_long_chain_of_parents_is_refused(tmp_path):
    for i in range(40):
        (tmp_path / f"{i}.json").write_text(json.dumps({"parent": f"{i + 1}.json"}))
    with pytest.raises(ConfigError, match=r"more than 32 parents"):
        config.read_document(tmp_path / "0.json")


def test_an_unreadable_parent_is_refused(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"parent": "none.json"}')
    with pytest.raises(ConfigError, match=r"none.json: cannot be read: No such file.*a.json -> .*none.json"):
        config.read_document(path)
    path.write_text('{"parent": ["b.json"]}')
    with pytest.raises(ConfigError, match=r"a.json: parent: expected a file name, got an array"):
        config.read_document(path)


# RFC 7396, appendix A
@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
    ids=str,
)
def test_merge_patch(target, patch, result):
    before = copy.deepcopy((target, patch))
    assert config.merge_patch(target, patch) == result
    assert (target, patch) == before
