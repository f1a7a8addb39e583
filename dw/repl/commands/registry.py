"""The registry of commands, which the parser, completion, `help` and the README's table read.

A command is a function with a name, a line of help, parameters and an example, registered by the
decorator `command`. Importing `dw.repl.commands.all` fills the registry.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from dw.errors import UsageError, did_you_mean
from dw.repl.lexer import Word

if TYPE_CHECKING:
    from dw.repl.session import Session
    from dw.repl.variables import Variables


@dataclass(frozen=True, slots=True)
class Candidate:
    """A completion: the text to insert and a short explanation."""

    text: str
    meta: str = ""


Words = Sequence[str]

Source = Callable[["Session", str, Words], Iterable[Candidate]]
"""The candidates for a word, given its typed beginning and the plain words before it."""

CommandFunction = Callable[["Session", "Call"], None]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a command.

    `word` is a plain word, `pairs` any number of `name=value`, `flag` an option such as `--hard`,
    `option` one with a value (`--timeout SECONDS`), `rest` a whole command.
    """

    name: str
    doc: str
    kind: Literal["word", "pairs", "flag", "option", "rest"] = "word"
    required: bool = False
    many: bool = False
    source: Source | None = None
    takes_dashes: bool = False  # `-name` is one of its words, not an option
    sweeps: bool = False  # a pair may have several values, as from `name=@@file`

    @property
    def flag(self) -> str:
        return self.name.split()[0]

    @property
    def usage(self) -> str:
        text = f"{self.name} ..." if self.many or self.kind == "pairs" else self.name
        return text if self.required else f"[{text}]"


@dataclass(frozen=True, slots=True)
class ShellCommand:
    name: str
    doc: str
    function: CommandFunction
    takes: tuple[Parameter, ...]
    example: str
    aliases: tuple[str, ...] = ()

    @property
    def usage(self) -> str:
        return " ".join([self.name, *(parameter.usage for parameter in self.takes)])

    def of_kind(self, *kinds: str) -> tuple[Parameter, ...]:
        return tuple(p for p in self.takes if p.kind in kinds)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a command with its arguments, whose number and names are checked.

    `given` are the pairs of `name=value` in the order given. `rest` is a whole command, as written.
    """

    command: ShellCommand
    words: tuple[str, ...] = ()
    given: tuple[tuple[str, Any], ...] = ()
    flags: dict[str, str] = field(default_factory=dict)
    rest: tuple[Word, ...] = ()

    @property
    def pairs(self) -> dict[str, Any]:
        """The last value that was given for each name."""
        return dict(self.given)

    def with_given(self, given: Sequence[tuple[str, Any]]) -> Call:
        return replace(self, given=tuple(given))

    @property
    def word(self) -> str | None:
        """The first word."""
        return self.words[0] if self.words else None


_PROMPT = re.compile(r"(^|_)prompt(_\d+)?$")
BACKGROUND = "&"

COMMANDS: dict[str, ShellCommand] = {}

GROUPED: dict[str, dict[str, tuple[str, ...]]] = {
    "workflow": {
        "load": ("load",),
        "reload": ("reload",),
        "run": ("run",),
        "status": ("status",),
        "restart": ("worker", "restart"),
    },
    "arg": {"set": ("arg",), "show": ("arg",), "clear": ("arg", "reset")},
    "memory": {"show": ("memory",), "clear": ("clear",)},
    "config": {"set": ("config",), "show": ("config",)},
}
"""The grouped grammar: the command that two words, such as `workflow load`, stand for."""


def command(
    name: str, doc: str, *takes: Parameter, example: str, aliases: Sequence[str] = ()
) -> Callable[[CommandFunction], CommandFunction]:
    """Register a function as the command `name`."""

    def register(function: CommandFunction) -> CommandFunction:
        COMMANDS[name] = ShellCommand(name, doc, function, takes, example, tuple(aliases))
        return function

    return register


def find_command(name: str) -> ShellCommand:
    """The command of that name or alias. Raises UsageError with the nearest one."""
    if found := COMMANDS.get(name) or COMMANDS.get(name.lower()):
        return found
    if found := next((c for c in COMMANDS.values() if name in c.aliases), None):
        return found
    nearest = did_you_mean(name, [*COMMANDS, *GROUPED])
    raise UsageError(f"unknown command {name!r}{nearest}", hints=["help   lists the commands"])


def parse(words: Sequence[Word], variables: Variables | None = None) -> Call:
    """The call that these words, at least one, make. Raises UsageError.

    With `variables` each `${name}` is replaced and files are read; without, only the grammar is
    checked and words stay as written.
    """
    words = _ungrouped(words)
    if words[0].name is not None:
        raise UsageError(
            f"a command is missing before {words[0].name}=",
            hints=[f"arg {words[0].name}=...   sets it"],
        )
    found, given = find_command(words[0].text), words[1:]
    if rest := found.of_kind("rest"):
        if not given:
            raise _missing(found, rest[0])
        parse(given)  # only checks the inner command
        return Call(found, rest=tuple(given))
    return _sort(found, given, variables)


def _ungrouped(words: Sequence[Word]) -> Sequence[Word]:
    group = GROUPED.get(words[0].text) or GROUPED.get(words[0].text.lower())
    if group is None:
        return words
    second = words[1] if len(words) > 1 and words[1].name is None else None
    if second is not None and second.text in group:
        made = [Word((text,), words[0].start, second.end) for text in group[second.text]]
        return [*made, *words[2:]]
    if words[0].text.lower() in COMMANDS:
        return words
    hints = [f"{words[0].text} takes {', '.join(group)}"]
    if second is None:
        raise UsageError(f"{words[0].text} needs another word", hints=hints)
    nearest = did_you_mean(second.text, group)
    raise UsageError(f"unknown command '{words[0].text} {second.text}'{nearest}", hints=hints)


def _sort(found: ShellCommand, given: Sequence[Word], variables: Variables | None) -> Call:
    """The words by kind of parameter. Raises UsageError for a missing, unknown or surplus one."""
    words: list[Word] = []
    pairs: list[Word] = []
    given = _with_prompt(given) if found.of_kind("pairs") else given
    flags: list[tuple[str, Word | None]] = []
    remaining = list(given)
    while remaining:
        word = remaining.pop(0)
        if word.name is not None and found.of_kind("pairs"):
            pairs.append(word)
        elif option := _option(found, word):
            takes_value = option.kind == "option"
            if takes_value and not remaining:
                raise UsageError(
                    f"{found.name}: {option.flag} needs a value", hints=_usage_hint(found)
                )
            flags.append((option.flag, remaining.pop(0) if takes_value else None))
        else:
            words.append(word)
    _check_number(found, words, pairs)
    for word in pairs:
        if word.form.endswith("lines") and not any(p.sweeps for p in found.of_kind("pairs")):
            raise UsageError(
                f"{found.name} takes one value for {word.name}, not the lines of a file",
                hints=[f"run {word.name}=@@{word.text}   makes a run for each line"],
            )
    expand = variables.expand if variables else _as_written
    value = variables.value if variables else _as_written
    return Call(
        found,
        words=tuple(map(expand, words)),
        given=tuple((word.name, value(word)) for word in pairs if word.name is not None),
        flags={name: expand(word) if word else "" for name, word in flags},
    )


def _with_prompt(given: Sequence[Word]) -> Sequence[Word]:
    """The words, with a text for a prompt that is not quoted as one: it goes to the line's end.

    Nothing after it may be an option or another `name=value`.
    """
    places = [index for index, word in enumerate(given) if word.name is not None]
    if not places or not _PROMPT.search(str(given[places[-1]].name)):
        return given
    before, (first, *rest) = given[: places[-1]], given[places[-1] :]
    after = [rest.pop()] if rest and rest[-1].text == BACKGROUND else []
    is_plain = first.form == "text" and not any(word.is_quoted for word in (first, *rest))
    if not rest or not is_plain or any(re.match(r"-\S", word.text) for word in rest):
        return given
    pieces = [*first.pieces]
    for word in rest:
        pieces += [" ", *word.pieces]
    return [*before, replace(first, pieces=tuple(pieces), end=rest[-1].end), *after]


def _as_written(word: Word) -> str:
    return word.text


def _option(found: ShellCommand, word: Word) -> Parameter | None:
    """The flag or option that `word` is. Raises UsageError for an unknown option."""
    if word.is_quoted or word.name is not None or not word.text.startswith("-"):
        return None
    known = {parameter.flag: parameter for parameter in found.of_kind("flag", "option")}
    if word.text in known:
        return known[word.text]
    if any(parameter.takes_dashes for parameter in found.takes) and not word.text.startswith("--"):
        return None
    nearest = did_you_mean(word.text, known)
    raise UsageError(f"{found.name} has no option {word.text}{nearest}", hints=_usage_hint(found))


def _check_number(found: ShellCommand, words: Sequence[Word], pairs: Sequence[Word]) -> None:
    places = found.of_kind("word")
    is_open = any(place.many for place in places)
    spare = words if is_open and pairs else () if is_open else words[len(places) :]
    if words and pairs and words[0].start > pairs[0].end and is_behind(found, words):
        spare = words
    if stray := [word for word in spare if not word.text.startswith("-")]:
        raise _stray(found, stray, pairs)
    if missing := [place for place in places[len(words) :] if place.required]:
        raise _missing(found, missing[0])
    if required := [place for place in found.of_kind("pairs") if place.required and not pairs]:
        raise _missing(found, required[0])


def is_behind(found: ShellCommand, words: Sequence[Word]) -> bool:
    """Whether the words stand where the only one that may is `&`."""
    return found.of_kind("word")[:1] == tuple(
        place for place in found.takes if place.name == BACKGROUND
    ) and any(word.text != BACKGROUND for word in words)


def _stray(found: ShellCommand, words: Sequence[Word], pairs: Sequence[Word]) -> UsageError:
    """The error for surplus words: most likely part of an unquoted value with blanks in it."""
    word = words[0]
    before = [pair for pair in pairs if pair.end < word.start and not pair.is_quoted]
    if before:
        later = [pair.start for pair in pairs if pair.start > word.start]
        rest = [each.text for each in words if not later or each.start < later[0]]
        fixed = f'{before[-1].name}="{" ".join([before[-1].text, *rest])}"'
        return UsageError(
            f"unexpected argument {word.text!r}",
            hints=[f"quote a value that has blanks in it: {fixed}"],
        )
    return UsageError(f"{found.name} does not take {word.text!r}", hints=_usage_hint(found))


def _missing(found: ShellCommand, parameter: Parameter) -> UsageError:
    return UsageError(f"{found.name} needs {parameter.name}", hints=_usage_hint(found))


def _usage_hint(found: ShellCommand) -> list[str]:
    return [f"usage: {found.usage}"]
