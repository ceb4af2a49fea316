"""JSON schemas: what is written is JSON and valid by the schema, and what is not supported is refused by name."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.inference.constrain import Constraint, PatternError, json_values
from llm.inference.constrain.exclusive import exclude_each_other
from llm.inference.constrain.json_schema import parse
from tests.llm.constraints import accepts, write
from tests.llm.gpts import SEEDS
from tokenizer import END_OF_TEXT, Tokenizer

TEXT = '{"a": [1, 2.5, -3e1, true, false, null], "bé日": {"a": "x\\n"}}'
TOKENIZER = Tokenizer.train([TEXT * 3], 300, [END_OF_TEXT])
NAMES = ["a", "b", 'é"', "a\\"]

scalars = st.none() | st.booleans() | st.integers(-9999, 9999) | st.floats(-9e9, 9e9).map(lambda x: round(x, 3))
values = st.recursive(
    scalars | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=3),
    max_leaves=6,
)


def pairs(low: int, high: int) -> st.SearchStrategy[tuple[int, int]]:
    return st.tuples(st.integers(low, high), st.integers(low, high)).map(lambda p: (min(p), max(p)))


def leaves() -> st.SearchStrategy[dict]:
    lengths = pairs(0, 5).map(lambda p: {"type": "string", "minLength": p[0], "maxLength": p[1]})
    patterns = st.sampled_from(["^[a-c]{1,3}$", "é", '^["\\\\\n]+$', r"^\d{3}-\w$|^x$"])
    integers = pairs(-120, 250).map(lambda p: {"type": "integer", "minimum": p[0], "maximum": p[1]})
    exclusive = pairs(-5, 5).map(
        lambda p: {"type": "integer", "exclusiveMinimum": p[0] - 0.5, "exclusiveMaximum": p[1] + 1}
    )
    named = st.sampled_from(
        ["string", "number", "integer", "boolean", "null", ["string", "null"], ["integer", "array"]]
    )
    constants = values.map(lambda v: {"const": v}) | st.lists(values, min_size=1, max_size=3).map(lambda v: {"enum": v})
    plain = st.sampled_from([True, {}, {"type": "number", "minimum": 0}, {"type": "object"}, {"title": "any"}])
    text = patterns.map(lambda p: {"type": "string", "pattern": p})
    return lengths | text | integers | exclusive | named.map(lambda t: {"type": t}) | constants | plain


def schemas() -> st.SearchStrategy[Any]:
    return st.recursive(leaves(), larger, max_leaves=5)


def larger(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[dict]:
    arrays = st.tuples(inner, pairs(0, 3)).map(
        lambda p: {"type": "array", "items": p[0], "minItems": p[1][0], "maxItems": p[1][1]}
    )
    return arrays | objects(inner) | st.lists(inner, min_size=1, max_size=3).map(lambda s: {"anyOf": s})


@st.composite
def objects(draw: st.DrawFn, inner: st.SearchStrategy[Any]) -> dict:
    properties = draw(st.dictionaries(st.sampled_from(NAMES), inner, max_size=4))
    schema = {"type": "object", "properties": properties}
    schema["required"] = draw(st.lists(st.sampled_from([*properties, "other"]), unique=True))
    more = draw(st.sampled_from([None, True, {"type": "null"}]))
    return schema if more is None else schema | {"additionalProperties": more}


def texts_of(schema: Any, seed: int, tries: int = 4, most_tokens: int = 80) -> list[str]:
    constraint = Constraint.from_schema(schema, TOKENIZER)
    rng = np.random.default_rng(seed)
    written = [write(constraint, rng, most_tokens) for _ in range(tries)]
    return [TOKENIZER.decode(ids, errors="strict") for ids, is_whole in written if is_whole]


@given(schemas(), SEEDS)
def test_what_is_written_is_valid_by_the_schema(schema: Any, seed: int) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(schema)
    for text in texts_of(schema, seed):
        validator.validate(json.loads(text))


@given(schemas(), values)
def test_only_what_is_valid_by_the_schema_is_accepted(schema: Any, value: Any) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    is_valid = jsonschema.Draft202012Validator(schema).is_valid(value)
    assert is_valid or not accepts(parse(schema), json.dumps(value))


@given(values, st.booleans(), st.sampled_from([(",", ":"), (", ", ": "), (", ", ":")]))
def test_any_value_can_be_written(value: Any, ensure_ascii: bool, separators: tuple[str, str]) -> None:
    text = json.dumps(value, ensure_ascii=ensure_ascii, separators=separators)
    assert accepts(parse(True), text)
    assert accepts(parse({"type": "object"}), text) == isinstance(value, dict)
    assert accepts(parse({"const": value}), json.dumps(value, ensure_ascii=False, separators=separators))


@given(values, st.sampled_from('{}[],:"\\ut0123.-eE x\n\ud83d\x1f'), st.data())
def test_what_is_accepted_is_json(value: Any, character: str, data: st.DataObject) -> None:
    """Also a text of which one character was changed."""
    text = json.dumps(value)
    at = data.draw(st.integers(0, len(text)))
    changed = text[:at] + character + text[at + data.draw(st.integers(0, 1)) :]
    if changed.isascii() and accepts(parse(True), changed):
        json.loads(changed).__repr__().encode()  # no half of a pair of surrogates in it


@pytest.mark.parametrize(
    "text", ['"\\ud800"', '"\\udc00"', '"\\ud83dx"', '"\\ud83d\\u0041"', '"\t"', "01", "1.", ".5", "+1"]
)
def test_what_is_not_json_or_not_text_is_not_accepted(text: str) -> None:
    assert not accepts(parse(True), text)


def test_pairs_of_surrogates_are_characters() -> None:
    assert accepts(parse({"type": "string", "maxLength": 1}), '"\\ud83d\\ude00"')


@given(pairs(-1100, 1100) | pairs(-(10**15) + 1, 10**15 - 1), st.data())
def test_an_integer_from_a_range(bounds: tuple[int, int], data: st.DataObject) -> None:
    low, high = bounds
    expression = json_values.integer(low, high)
    edges = [low - 1, low, low + 1, high - 1, high, high + 1, 0, -1, data.draw(st.integers(-(10**15) + 1, 10**15 - 1))]
    for n in [*edges, *range(max(low, -60), min(high, 60))]:
        if abs(n) < 10**15:
            assert accepts(expression, str(n)) == (low <= n <= high), n
    assert not accepts(expression, "-0") and not accepts(expression, "007")


@given(st.data(), st.lists(st.tuples(st.sampled_from("abcd"), st.booleans()), unique_by=lambda p: p[0], max_size=4))
def test_properties_come_in_order_and_optional_ones_may_be_left_out(data: st.DataObject, members: list) -> None:
    schema = {
        "type": "object",
        "properties": {name: {"const": 1} for name, _ in members},
        "required": [name for name, is_required in members if is_required],
        "additionalProperties": False,
    }
    written = data.draw(st.lists(st.sampled_from("abcd"), unique=True))
    names = [name for name, _ in members]
    in_order = [name for name in names if name in written]
    expected = written == in_order and set(schema["required"]) <= set(written)
    assert accepts(parse(schema), json.dumps(dict.fromkeys(written, 1))) == expected


TREE = {
    "$defs": {
        "tree": {
            "type": "object",
            "properties": {
                "value": {"type": "integer"},
                "children": {"type": "array", "items": {"$ref": "#/$defs/tree"}},
            },
            "required": ["value"],
        }
    },
    "$ref": "#/$defs/tree",
}


@given(SEEDS)
def test_a_recursive_schema(seed: int) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    for text in texts_of(TREE, seed, most_tokens=400):
        jsonschema.validate(json.loads(text), TREE)


def test_recursion_ends_at_the_stated_depth() -> None:
    def tree(depth: int) -> dict:
        return {"value": 1, "children": [tree(depth - 1)]} if depth > 1 else {"value": 1}

    assert accepts(parse(TREE), json.dumps(tree(12)))
    assert not accepts(parse(TREE), json.dumps(tree(13)))
    assert accepts(parse(True), "[" * 15 + "{}" + "]" * 15)
    assert not accepts(parse(True), "[" * 16 + "{}" + "]" * 16)


def test_references_within_one_another_cost_little() -> None:
    """Each schema has two references to the next one: 2^12 paths."""
    defs: dict = {
        f"d{k}": {"type": "array", "items": {"anyOf": [{"$ref": f"#/$defs/d{k + 1}"}] * 2}} for k in range(10)
    }
    defs["d10"] = {"type": "object", "properties": {name: {"$ref": "#/$defs/d0"} for name in NAMES}}
    assert accepts(parse({"$defs": defs, "$ref": "#/$defs/d0"}), "[" * 10 + "{}" + "]" * 10)


SHAPES = [
    {"type": "object", "properties": {"kind": {"const": kind}, "size": {"type": size}}, "required": ["kind", "size"]}
    for kind, size in (("circle", "number"), ("square", "integer"))
]


def test_one_of_needs_schemas_that_exclude_each_other() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = {"oneOf": [*SHAPES, {"type": "null"}, {"enum": ["a", 1]}]}
    for text in texts_of(schema, seed=0, tries=12):
        jsonschema.validate(json.loads(text), schema)
    for both in ([{"type": "integer"}, {"type": "number"}], [{"const": 1}, {"enum": [1.0]}], [SHAPES[0]] * 2, [{}, {}]):
        with pytest.raises(PatternError, match="may both be valid"):
            parse({"oneOf": both})


def test_the_discriminator_of_a_union_changes_nothing() -> None:
    """pydantic writes it beside oneOf."""
    assert parse({"discriminator": {"propertyName": "kind"}, "oneOf": SHAPES}) is parse({"oneOf": SHAPES})


@given(st.lists(schemas(), min_size=2, max_size=2), values)
def test_schemas_that_exclude_each_other_have_no_common_value(both: list, value: Any) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    if exclude_each_other(True, both):
        assert not all(jsonschema.Draft202012Validator(schema).is_valid(value) for schema in both)


@pytest.mark.parametrize(
    ("schema", "problem"),
    [
        ({"type": "array", "uniqueItems": True}, "at # has 'uniqueItems'"),
        ({"type": "object", "properties": {"a": {"not": {}}}}, "#/properties/a has 'not'"),
        ({"type": "object", "patternProperties": {}}, "'patternProperties'"),
        ({"type": "string", "format": "date"}, "'format'"),
        ({"type": "string", "pattern": "a", "maxLength": 3}, "'maxLength' beside pattern"),
        ({"type": "string", "pattern": "(?=a)"}, "lookahead"),
        ({"type": "string", "minLength": -1}, "minLength = -1"),
        ({"type": "string", "minLength": 1.5}, "minLength = 1.5"),
        ({"type": "array", "maxItems": "3"}, "maxItems = '3'"),
        ({"type": "number", "minimum": 2}, "'minimum' other than 0"),
        ({"type": "number", "maximum": 2}, "'maximum'"),
        ({"type": "integer", "multipleOf": 2}, "'multipleOf'"),
        ({"type": "integer", "minimum": True}, "not a number"),
        ({"type": "sting"}, "the type 'sting'"),
        ({"type": "object", "anyOf": [{}]}, "'type' beside anyOf"),
        ({"allOf": [{}, {}]}, "allOf of several"),
        ({"anyOf": []}, "list of schemas"),
        ({"enum": "ab"}, "list of values"),
        ({"$ref": "https://example.com/schema"}, "leads out of the schema"),
        ({"$ref": "#/$defs/none"}, "leads to nothing"),
        ({"$ref": "#"}, "no value is valid"),
        ({"type": "integer", "minimum": 3, "maximum": 2}, "no value is valid"),
        ({"type": "string", "minLength": 3, "maxLength": 2}, "no value is valid"),
        ({"type": "array", "minItems": 1, "maxItems": 0}, "no value is valid"),
        ({"enum": []}, "no value is valid"),
        (False, "no value is valid"),
        ({"properties": {"a": 3}}, "#/properties/a must be an object"),
        ({"properties": []}, "object of properties"),
        ({"type": "object", "required": "a"}, "names of those that are required"),
        ([], "must be an object"),
        ("string", "must be an object"),
        ({"const": float("nan")}, "not a value of JSON"),
        ({"made": "up"}, "'made'"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(schema: Any, problem: str) -> None:
    with pytest.raises(PatternError, match=re.escape(problem)):
        parse(schema)


KEYWORDS = ["type", "items", "properties", "required", "anyOf", "oneOf", "allOf", "$ref", "enum", "const", "pattern"]
KEYWORDS += ["minItems", "maxLength", "minimum", "additionalProperties"]
anything = st.recursive(
    scalars | st.sampled_from(["type", "string", "#", "a"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYWORDS), inner, max_size=3),
)


@given(anything)
def test_any_json_is_a_schema_or_refused_in_a_sentence(schema: Any) -> None:
    try:
        sentence = f"a schema, read as {parse(schema)}"
    except PatternError as error:
        sentence = str(error)
    assert "\n" not in sentence and len(sentence) < 300


def test_hostile_schemas_are_refused() -> None:
    deep: Any = {"type": "null"}
    for _ in range(500):
        deep = {"type": "array", "items": deep}
    # Each reference leads to the next one, within many arrays.
    defs: Any = {f"d{k}": {"$ref": f"#/$defs/d{k + 1}"} for k in range(40)}
    for _ in range(50):
        defs = {name: {"type": "array", "items": schema} for name, schema in defs.items()}
    chain = {"$ref": "#/$defs/d0", "$defs": defs}
    wide = {"anyOf": [{"type": "string", "maxLength": k % 1000} for k in range(30_000)]}
    for schema in (deep, chain, wide):
        with pytest.raises(PatternError, match="too large"):
            parse(schema)


@pytest.mark.parametrize("keyword", ["const", "enum", "type", "minLength"])
def test_hostile_values_in_schemas_are_refused(keyword: str) -> None:
    deep: Any = []
    for _ in range(9000):
        deep = [deep]
    with pytest.raises(PatternError, match="nested too deeply"):
        parse({"type": "string"} | {keyword: deep})


def test_any_object() -> None:
    for seed in range(5):
        constraint = Constraint.json_object(TOKENIZER)
        ids, is_whole = write(constraint, np.random.default_rng(seed), 300)
        assert not is_whole or isinstance(json.loads(TOKENIZER.decode(ids)), dict)


@pytest.mark.control
def test_a_wrong_schema_is_noticed() -> None:
    """Texts of a schema with one bound more are not all valid by the schema."""
    jsonschema = pytest.importorskip("jsonschema")
    wider, schema = ({"type": "array", "items": {"const": 1}, "minItems": 1, "maxItems": most} for most in (3, 2))
    texts = texts_of(wider, seed=0, tries=30)
    assert not all(jsonschema.Draft202012Validator(schema).is_valid(json.loads(text)) for text in texts)
