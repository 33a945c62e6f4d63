"""Reads YAML into frozen dataclasses: the type is the schema, and every mistake carries its line.

The libraries that check YAML against a type forget the lines, so this module walks PyYAML's
node graph, which keeps them. Strings become `Text`, which remembers where it stood.
"""

from __future__ import annotations

import dataclasses
import datetime
import re
import types
import typing
from functools import cache
from typing import Any, Generic, Literal, TypeVar

import yaml

from knowledge.mistakes import Mistake, Text, did_you_mean

T = TypeVar("T")

_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # C where libyaml is at hand: ten times faster
_MISSING = object()


@dataclasses.dataclass(frozen=True)
class Reading(Generic[T]):
    """What was read: the value without its broken records, the mistakes, and the ids of the broken records."""

    value: T | None
    mistakes: list[Mistake]
    broken: frozenset[str]


@cache
def read(source: str | bytes, kind: type[T], path: str, first_line: int = 1) -> Reading[T]:
    """Read a YAML document.

    Args:
        source: the document.
        kind: a dataclass, or `tuple[dataclass, ...]` for a list.
        path: the file's name in messages.
        first_line: the line of the file on which the document starts.

    Returns:
        The value with all that could be read, or None where the document as a whole could not.
    """
    reader = _Reader(path, first_line)
    value = reader.document(source, kind)
    return Reading(None if value is _MISSING else value, reader.mistakes, frozenset(reader.broken))


class _Reader:
    def __init__(self, path: str, first_line: int) -> None:
        self.path, self.first_line = path, first_line
        self.mistakes: list[Mistake] = []
        self.broken: set[str] = set()

    def document(self, source: str | bytes, kind: Any) -> Any:
        try:
            text = source.decode("utf-8") if isinstance(source, bytes) else source
            if self.too_deep(text):  # libyaml composes by recursion in C, which ends the process
                return _MISSING
            node = yaml.compose(text, Loader=_Loader)
        except UnicodeDecodeError as error:
            line = error.object[: error.start].count(b"\n")
            return self.wrong(line, "not UTF-8: save the file as UTF-8")
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            return self.wrong(mark.line if mark else 0, f"not valid YAML: {error.problem or error.context}")
        except yaml.reader.ReaderError as error:
            return self.wrong(0, f"not valid YAML: {error.reason} (character {error.position})")
        except ValueError as error:  # malformed escapes
            return self.wrong(0, f"not valid YAML: {error}")
        if node is None:
            return self.wrong(0, f"the file is empty, expected {_said(kind)}")
        return self.value(node, kind)

    def too_deep(self, text: str) -> bool:
        depth = 0
        for event in yaml.parse(text, Loader=_Loader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > 20:
                self.wrong(event.start_mark.line if event.start_mark else 0, "nested more than 20 deep: flatten it")
                return True
        return False

    def wrong(self, line: int, message: str) -> Any:
        self.mistakes.append(Mistake(self.path, self.first_line + line, message))
        return _MISSING

    def value(self, node: yaml.Node, kind: Any) -> Any:
        origin = typing.get_origin(kind)
        if origin is types.UnionType:  # X | None: a key that is left out, never an explicit null
            return self.value(node, next(k for k in typing.get_args(kind) if k is not type(None)))
        if dataclasses.is_dataclass(kind):
            return self.record(node, kind)
        if origin is tuple:
            return self.list(node, typing.get_args(kind)[0])
        return self.scalar(node, kind)

    def record(self, node: yaml.Node, kind: Any) -> Any:
        if not isinstance(node, yaml.MappingNode):
            return self.mismatch(node, kind)
        fields = _fields(kind)
        seen: dict[str, Any] = {}
        for key, value in node.value:
            name = key.value if isinstance(key, yaml.ScalarNode) else "?"
            if name not in fields:
                self.wrong(
                    key.start_mark.line,
                    f"unknown key “{name}”{did_you_mean(name, fields)} (known: {', '.join(fields)})",
                )
            elif name in seen:
                self.wrong(key.start_mark.line, f"duplicate key “{name}”: keep one")
            else:
                seen[name] = self.value(value, fields[name].kind)
        for name, field in fields.items():
            if name not in seen and field.required:
                self.wrong(node.start_mark.line, f"missing key “{name}” in {_said(kind)}")
                seen[name] = _MISSING
        if any(value is _MISSING for value in seen.values()):
            self.broken.add(str(seen.get("id", "")))
            return _MISSING
        return kind(**seen)

    def list(self, node: yaml.Node, kind: Any) -> Any:
        if not isinstance(node, yaml.SequenceNode):
            return self.mismatch(node, tuple[kind, ...])
        values = [self.value(child, kind) for child in node.value]
        whole = [value for value in values if value is not _MISSING]
        return tuple(whole) if dataclasses.is_dataclass(kind) or len(whole) == len(values) else _MISSING

    def scalar(self, node: yaml.Node, kind: Any) -> Any:
        if not isinstance(node, yaml.ScalarNode):
            return self.mismatch(node, kind)
        text, block = node.value.strip(), node.style in ("|", ">")
        if typing.get_origin(kind) is Literal:
            words = typing.get_args(kind)
            if text in words:
                return text
            return self.wrong(
                node.start_mark.line, f"“{text}” is none of {', '.join(words)}{did_you_mean(text, words)}"
            )
        if kind is bool and node.tag.endswith(":bool"):
            return text.lower() in ("true", "yes", "on")
        if kind is datetime.date:
            try:
                return datetime.date.fromisoformat(text)
            except ValueError:
                return self.wrong(node.start_mark.line, f"“{text}” is no date: write it as 2026-11-21")
        if kind is not str or (node.style is None and not node.tag.endswith((":str", ":int", ":float"))):
            return self.mismatch(node, kind)
        if not text:
            return self.wrong(node.start_mark.line, "empty text: write it or leave the key out")
        if _CONTROL.search(text):
            return self.wrong(node.start_mark.line, "a control character in the text: remove it")
        return Text(text, self.path, self.first_line + node.start_mark.line + block)

    def mismatch(self, node: yaml.Node, kind: Any) -> Any:
        if isinstance(node, yaml.CollectionNode):
            found = "a mapping" if isinstance(node, yaml.MappingNode) else "a list"
        else:
            found = f"“{node.value[:40]}”" if node.value else "nothing"
        return self.wrong(node.start_mark.line, f"expected {_said(kind)}, found {found}")


_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u2028\u2029]")  # Python-Markdown keeps places with \x02 and \x03


@dataclasses.dataclass(frozen=True)
class _Field:
    kind: Any
    required: bool


@cache
def _fields(kind: Any) -> dict[str, _Field]:
    hints = typing.get_type_hints(kind)
    return {
        f.name: _Field(hints[f.name], f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING)
        for f in dataclasses.fields(kind)
        if f.init and not f.metadata.get("derived")
    }


def _said(kind: Any) -> str:
    """Return the type in the reader's words."""
    if typing.get_origin(kind) is tuple:
        return f"a list of {_noun(typing.get_args(kind)[0])}s"
    return {str: "text", bool: "true or false"}.get(kind) or f"a {_noun(kind)}"


def _noun(kind: Any) -> str:
    """Return a type's name as words: SeedDocument is a "seed document"."""
    return "text" if kind is str else re.sub(r"(?<!^)(?=[A-Z])", " ", kind.__name__).lower()
