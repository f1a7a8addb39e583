"""Mutants of a module: its source with one place changed.

The changes are mutmut's, made here at class level and in decorated functions too, and more of the
kind that were found to pass unnoticed: a statement left out, a branch forced, nothing returned, a
field of a dataclass left out of its equality. Texts of several words are not changed: they are
compared where users see them. An argument becomes None and is not left out as well; `strict` of
`zip` stays, which asserts what is so anyway.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import compress
from pathlib import Path

import libcst as cst
from libcst.metadata import MetadataWrapper, PositionProvider
from mutmut.mutation.mutators import (
    mutation_operators,
    operator_arg_removal,
    operator_assignment,
    operator_lambda,
    operator_string,
)

Operator = tuple[type[cst.CSTNode], Callable[[cst.CSTNode], Iterable[cst.CSTNode]]]


@dataclass(frozen=True)
class Mutant:
    """`name` says what was changed and survives edits elsewhere in the file."""

    name: str
    line: int  # the first of the changed ones, from 1
    last_line: int
    is_executed_on_import: bool
    source: str


def mutants(path: Path, *, are_keys: bool = False) -> list[Mutant]:
    """Each once, in the order of the file; those that do not compile are left out. `are_keys`: the
    equality of the module's frozen dataclasses counts."""
    source = path.read_text(encoding="utf-8")
    wrapper = MetadataWrapper(cst.parse_module(source), unsafe_skip_copy=True)
    collector = _Collector(are_keys)
    wrapper.visit(collector)
    positions = wrapper.resolve(PositionProvider)
    found: dict[str, Mutant] = {}
    names: dict[str, int] = {}
    for place in collector.places:
        for changed in place.changes:
            text = wrapper.module.deep_replace(place.node, changed).code  # type: ignore[arg-type]
            if text == source or text in found or not _compiles(text):
                continue
            span = positions[place.node]
            name = f"{place.owner}: {_difference(source, text)}"
            names[name] = names.get(name, 0) + 1
            if names[name] > 1:
                name = f"{name} ({names[name]})"
            found[text] = Mutant(
                name, span.start.line, span.end.line, place.is_executed_on_import, text
            )
    return list(found.values())


def _compiles(text: str) -> bool:
    try:
        compile(text, "mutant", "exec")
    except (SyntaxError, ValueError):
        return False
    return True


def _difference(before: str, after: str) -> str:
    sides = [[line.partition("  #")[0] for line in text.splitlines()] for text in (before, after)]
    lines = difflib.ndiff(*sides, linejunk=None)
    changed = [line for line in lines if line[:2] in ("- ", "+ ")]
    old = " ".join(line[2:].strip() for line in changed if line[0] == "-")
    new = " ".join(line[2:].strip() for line in changed if line[0] == "+")
    return f"{old} -> {new}"


@dataclass
class _Place:
    node: cst.CSTNode
    owner: str  # the function or class that it is in
    is_executed_on_import: bool
    changes: list[cst.CSTNode]


class _Collector(cst.CSTVisitor):
    """Collects the places of a module and what can stand there instead."""

    def __init__(self, are_keys: bool) -> None:
        self._are_keys = are_keys
        self.places: list[_Place] = []
        self._asserting: set[int] = set()  # nodes that stay
        self._owners: list[str] = []
        self._functions = 0
        self._defaults: set[int] = set()  # parameters of functions, whose defaults are outside them
        self._is_key = [False]

    def on_visit(self, node: cst.CSTNode) -> bool:
        self._functions -= id(node) in self._defaults
        if isinstance(
            node, cst.Annotation | cst.Import | cst.ImportFrom | cst.Param | cst.Decorator
        ):
            return isinstance(node, cst.Param)
        if isinstance(node, cst.Call):
            self._asserting.update(id(arg) for arg in node.args if _is_strict(node, arg))
        if id(node) in self._asserting:
            return False
        if isinstance(node, cst.SimpleStatementLine) and (_is_text(node) or self._is_alias(node)):
            return False
        if isinstance(node, cst.FunctionDef | cst.ClassDef):
            self._owners.append(node.name.value)
            if isinstance(node, cst.FunctionDef):
                self._functions += 1
                given = node.params
                params = (*given.posonly_params, *given.params, *given.kwonly_params)
                self._defaults.update(map(id, params))
            is_frozen = isinstance(node, cst.ClassDef) and _is_frozen(node)
            self._is_key.append(self._are_keys and is_frozen)
        changes = list(self._changes(node))
        if changes:
            owner = ".".join(self._owners) or "module"
            self.places.append(_Place(node, owner, self._functions == 0, changes))
        return True

    def _is_alias(self, line: cst.SimpleStatementLine) -> bool:
        """Whether it names a type, which only type checkers read."""
        match line.body:
            case [cst.Assign(value=cst.Subscript() | cst.BinaryOperation(operator=cst.BitOr()))]:
                return not self._owners
        return False

    def on_leave(self, original_node: cst.CSTNode) -> None:
        self._functions += id(original_node) in self._defaults
        if isinstance(original_node, cst.FunctionDef | cst.ClassDef):
            self._owners.pop()
            self._functions -= isinstance(original_node, cst.FunctionDef)
            self._is_key.pop()

    def _changes(self, node: cst.CSTNode) -> Iterator[cst.CSTNode]:
        for kind, operator in (*mutation_operators, *_MORE):
            if isinstance(node, kind):
                changed = list(operator(node))
                if operator is operator_string:
                    changed = [] if " " in getattr(node, "value", "") else changed[:1]
                elif operator is operator_assignment and _is_constant(node.value):
                    changed = []  # None as "" or False as None: both are false
                elif operator is operator_lambda and _is_constant(node.body):
                    changed = []  # so are None and 0
                elif operator is operator_arg_removal:
                    replaced = [a for a in node.args if not a.star and not _is_name(a, "None")]
                    differ = [not (_is_name(a, "False") or _is_strict(node, a)) for a in replaced]
                    changed = list(compress(changed, differ))  # those left out come last
                yield from changed
        if self._is_key[-1] and isinstance(node, cst.AnnAssign):
            yield from _uncompared(node)


def _is_text(line: cst.SimpleStatementLine) -> bool:
    """Whether it is a docstring, of a module, a class, a function or a name."""
    return all(
        isinstance(each, cst.Expr) and isinstance(each.value, cst.BaseString) for each in line.body
    )


def _is_constant(value: cst.BaseExpression | None) -> bool:
    return isinstance(value, cst.Name) and value.value in ("None", "True", "False")


def _is_strict(call: cst.Call, arg: cst.Arg) -> bool:
    """Whether it is the argument of `zip` that asserts what is so anyway."""
    is_zip = isinstance(call.func, cst.Name) and call.func.value == "zip"
    return is_zip and arg.keyword is not None and arg.keyword.value == "strict"


def _is_name(arg: cst.Arg, name: str) -> bool:
    return isinstance(arg.value, cst.Name) and arg.value.value == name


def _is_frozen(node: cst.ClassDef) -> bool:
    return any("frozen=True" in _code(each.decorator) for each in node.decorators)


def _code(node: cst.CSTNode) -> str:
    return cst.Module([]).code_for_node(node)


def _left_out(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """A statement is not executed."""
    assert isinstance(node, cst.SimpleStatementLine)
    skipped = cst.SimpleStatementLine([cst.Pass()])
    match node.body:
        case [cst.Expr(value=cst.Call() | cst.Await() | cst.Yield())]:
            yield skipped
        case [cst.Del() | cst.AugAssign() | cst.Raise()]:
            yield skipped
        case [cst.Assign(targets=[cst.AssignTarget(target=cst.Attribute() | cst.Subscript())])]:
            yield skipped


def _returned(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    assert isinstance(node, cst.Return)
    if node.value is not None and not _is_constant(node.value):
        yield node.with_changes(
            value=cst.Name("None"), whitespace_after_return=cst.SimpleWhitespace(" ")
        )


def _forced(node: cst.CSTNode) -> Iterator[cst.CSTNode]:
    """A branch is always or never taken."""
    assert isinstance(node, cst.If)
    for name in ("True", "False"):
        yield node.with_changes(
            test=cst.Name(name), whitespace_before_test=cst.SimpleWhitespace(" ")
        )


def _uncompared(node: cst.AnnAssign) -> Iterator[cst.CSTNode]:
    """A field of a dataclass does not count for equality."""
    args = [cst.Arg(cst.Name("False"), keyword=cst.Name("compare"))]
    match node.value:
        case None:
            pass
        case cst.Call(func=cst.Name(value="field")):
            given = [a.with_changes(comma=cst.MaybeSentinel.DEFAULT) for a in node.value.args]
            if any(a.keyword and a.keyword.value == "compare" for a in given):
                return
            args += given
        case value:
            args.append(cst.Arg(value, keyword=cst.Name("default")))
    maker = cst.parse_expression('__import__("dataclasses").field')
    yield node.with_changes(
        value=cst.Call(maker, args),
        equal=cst.AssignEqual(),
    )


_MORE: tuple[Operator, ...] = (
    (cst.SimpleStatementLine, _left_out),
    (cst.Return, _returned),
    (cst.If, _forced),
)
