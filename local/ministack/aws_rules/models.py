"""Checks of requests by botocore's service models, with the messages of AWS."""

import re
from typing import Iterator
from xml.sax.saxutils import escape

from botocore.loaders import Loader


class Model:
    """The requests of a service of the query protocol, such as IAM or STS."""

    def __init__(self, service: str):
        model = Loader().load_service_model(service, "service-2")
        self._operations = model["operations"]
        self._shapes = model["shapes"]
        self._patterns: dict[str, re.Pattern] = {}

    def validation_error(self, operation: str, params: dict, without_minimum: tuple[str, ...] = ()) -> str | None:
        """Returns the message of a ValidationError, or None if a request has no problem.

        ``params`` are the parsed parameters, with a list of values for each name. ``without_minimum`` names members
        whose lower bound does not hold.
        """
        found = self._operations.get(operation)
        if found is None or "input" not in found:
            return None
        shape = self._shapes[found["input"]["shape"]]
        problems = list(self._structure_problems(shape, params, "", "", without_minimum))
        if not problems:
            return None
        count = f"{len(problems)} validation error{'s' if len(problems) > 1 else ''} detected"
        return f"{count}: {'; '.join(problems)}"

    def _structure_problems(
        self, shape: dict, params: dict, name: str, shown: str, without_minimum: tuple[str, ...]
    ) -> Iterator[str]:
        required = shape.get("required", [])
        for member, reference in shape["members"].items():
            full = f"{name}{member}"
            path = f"{shown}{member[0].lower()}{member[1:]}"
            if not any(key == full or key.startswith(f"{full}.") for key in params):
                if member in required:
                    yield f"Value null at '{path}' failed to satisfy constraint: Member must not be null"
                continue
            minimum = member not in without_minimum
            yield from self._problems(self._shapes[reference["shape"]], params, full, path, minimum)

    def _problems(self, shape: dict, params: dict, name: str, shown: str, minimum: bool) -> Iterator[str]:
        if shape["type"] == "structure":
            yield from self._structure_problems(shape, params, f"{name}.", f"{shown}.", ())
        elif shape["type"] == "list":
            yield from self._list_problems(shape, params, name, shown)
        elif shape["type"] in ("string", "integer", "long"):
            value = first(params, name)
            for constraint in self._broken_constraints(shape, value, minimum):
                yield f"Value '{value}' at '{shown}' failed to satisfy constraint: {constraint}"

    def _list_problems(self, shape: dict, params: dict, name: str, shown: str) -> Iterator[str]:
        member = shape["member"].get("locationName", "member")
        pattern = re.compile(rf"{re.escape(name)}\.{re.escape(member)}\.(\d+)(?:\.|$)")
        positions = sorted({int(match[1]) for key in params if (match := pattern.match(key))})
        if "max" in shape and len(positions) > shape["max"]:
            limit = f"Member must have length less than or equal to {shape['max']}"
            yield f"Value at '{shown}' failed to satisfy constraint: {limit}"
        item = self._shapes[shape["member"]["shape"]]
        for position in positions:
            at = f"{shown}.{position}.member"
            yield from self._problems(item, params, f"{name}.{member}.{position}", at, True)

    def _broken_constraints(self, shape: dict, value: str, minimum: bool) -> Iterator[str]:
        number = shape["type"] != "string"
        if number and not re.fullmatch(r"-?\d+", value):
            yield "Member must be a number"
            return
        size, measure = (int(value), "value") if number else (len(value), "length")
        if minimum and "min" in shape and size < shape["min"]:
            yield f"Member must have {measure} greater than or equal to {shape['min']}"
        if "max" in shape and size > shape["max"]:
            yield f"Member must have {measure} less than or equal to {shape['max']}"
        if "pattern" in shape and not self._matches(shape["pattern"], value):
            yield f"Member must satisfy regular expression pattern: {shape['pattern']}"
        if "enum" in shape and value not in shape["enum"]:
            yield f"Member must satisfy enum value set: [{', '.join(shape['enum'])}]"

    def _matches(self, pattern: str, value: str) -> bool:
        if "\\p{" in pattern:
            return True  # Python has no classes such as \p{L}.
        found = self._patterns.get(pattern)
        if found is None:
            # AWS uses Java's expressions, whose \w and \d match ASCII only.
            found = self._patterns[pattern] = re.compile(pattern, re.ASCII)
        return found.fullmatch(value) is not None


def first(params: dict, name: str, default: str = "") -> str:
    value = params.get(name, [default])
    return str(value[0] if isinstance(value, list) else value)


def printable(text: str) -> str:
    """A text for an XML document, which allows few control characters."""
    return escape(re.sub("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "?", text))
