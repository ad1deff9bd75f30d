"""Shell variables read from a file without running it.

Of the shell's language this knows what a file of settings needs: assignments, also of arrays and after ``export`` and
the like; quoting; comments; ``$NAME`` and ``${NAME:-default}`` in their forms. All else, and above all whatever a shell
would run, is refused with its line. Variables that the file itself does not set are empty, as nothing is taken from
the environment.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kubeup.errors import InventoryError, Problem

DECLARE = ("export", "readonly", "declare", "typeset", "local")
"""Words before assignments."""

_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_ASSIGNMENT = re.compile(r"([A-Za-z_]\w*)(\+?=)", re.ASCII)
_WORD = re.compile(r"[^\s;]*")
_RUNS = "nothing in this file is run: write the value itself here"


@dataclass(frozen=True)
class Variable:
    """A variable as the file leaves it: one text, or a list of words where it is an array; and the line that set it."""

    line: int
    text: str
    words: tuple[str, ...] | None = None

    @property
    def items(self) -> tuple[str, ...]:
        """The elements of an array; of a text, the words in it."""
        return self.words if self.words is not None else tuple(self.text.split())


class _Refused(Exception):
    def __init__(self, line: int, what: str, remedy: str = "") -> None:
        super().__init__(what)
        self.line, self.what, self.remedy = line, what, remedy


def read_variables(text: str, file: str, given: Mapping[str, str] | None = None) -> dict[str, Variable]:
    """The variables that the shell file ``text`` sets, by name; ``given`` are set before, as by an environment.

    Raises:
        InventoryError: with every line that is more than an assignment, or that a shell would run something for.
    """
    reader = _Reader(text.replace("\r\n", "\n"), {name: Variable(0, value) for name, value in (given or {}).items()})
    reader.file()
    if reader.refused:
        problems = [Problem(f"{file}:{error.line}", error.what, error.remedy) for error in reader.refused]
        raise InventoryError(list(dict.fromkeys(problems)))
    return {name: variable for name, variable in reader.variables.items() if variable.line}


def read_file(path: Path, given: Mapping[str, str] | None = None) -> dict[str, Variable]:
    """As ``read_variables``, of a file. Raises InventoryError when it cannot be read, too."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InventoryError([Problem(str(path), f"cannot be read: {error}")]) from error
    return read_variables(text, str(path), given)


@dataclass
class _Reader:
    """Walks the text once. ``at`` is the place of the next character."""

    text: str
    variables: dict[str, Variable]
    at: int = 0
    refused: list[_Refused] = field(default_factory=list)

    @property
    def line(self) -> int:
        return self.text.count("\n", 0, self.at) + 1

    def next(self, length: int = 1) -> str:
        """The characters that come, "" at the end."""
        return self.text[self.at : self.at + length]

    def file(self) -> None:
        while self.at < len(self.text):
            start = self.at
            try:
                self.statement()
            except _Refused as error:
                self.refused.append(error)
                # On with the line after that of the error, so that one run tells everything.
                end = self.text.find("\n", max(self.at, start))
                self.at = len(self.text) if end < 0 else end + 1

    def blanks(self, newlines: bool = False) -> None:
        """Skip what separates words, and a comment."""
        while True:
            if self.next(2) == "\\\n":
                self.at += 2
            elif self.next() in (" ", "\t") or (newlines and self.next() == "\n"):
                self.at += 1
            elif self.next() == "#":
                end = self.text.find("\n", self.at)
                self.at = len(self.text) if end < 0 else end
            else:
                return

    def statement(self) -> None:
        """One command: assignments, or a word of DECLARE with names and assignments after it."""
        self.blanks(newlines=True)
        if self.next() in ("", ";"):
            self.at += 1
            return
        declares = False
        if (first := _WORD.match(self.text, self.at)) and first[0] in DECLARE:
            self.at = first.end()
            declares = True
        while True:
            self.blanks()
            if self.next() in ("", "\n", ";"):
                self.at += 1
                return
            line = self.line
            if match := _ASSIGNMENT.match(self.text, self.at):
                self.at = match.end()
                self.assign(match[1], match[2] == "+=", line)
            elif declares and (option := re.compile(r"-[A-Za-z]+(?=[\s;]|$)").match(self.text, self.at)):
                self.at = option.end()
            elif declares and (name := _NAME.match(self.text, self.at)):
                self.at = name.end()
            else:
                word = self.text[self.at :].split("\n", 1)[0].strip()
                raise _Refused(line, f"this is more than an assignment: {word[:60]}", "leave NAME=VALUE lines alone")
            if self.next() not in ("", " ", "\t", "\n", ";", "\\"):
                raise _Refused(self.line, f"{self.next()!r} stands after a value", "quote the value, or take it out")

    def assign(self, name: str, adds: bool, line: int) -> None:
        if self.next() == "(":
            self.at += 1
            words = self.array()
            before = self.variables.get(name)
            if adds and before:
                words = [*before.items, *words]
            self.variables[name] = Variable(line, words[0] if words else "", tuple(words))
            return
        value = "".join(text for text, _ in self.word(split=False))
        if adds and name in self.variables:
            value = self.variables[name].text + value
        self.variables[name] = Variable(line, value)

    def array(self) -> list[str]:
        """The words up to the closing bracket."""
        words: list[str] = []
        start = self.line
        while True:
            self.blanks(newlines=True)
            if not self.next():
                raise _Refused(start, "a '(' is never closed", "close the list with ')'")
            if self.next() == ")":
                self.at += 1
                return words
            if self.next() == "[":
                raise _Refused(self.line, "an index in an array", "write the elements in order, without [n]=")
            words += [text for text, _ in self.word(split=True)]

    def word(self, *, split: bool) -> list[tuple[str, bool]]:
        """The next word, as fields (text, whether any of it was quoted): several where an expansion is ``split``."""
        fields: list[tuple[str, bool]] = []
        current, quoted = "", False

        def add(piece: str, literal: bool) -> None:
            nonlocal current, quoted
            if literal or not split:
                current, quoted = current + piece, quoted or literal
                return
            parts = re.split(r"[ \t\n]+", piece)
            for number, part in enumerate(parts):
                if number:
                    if current or quoted:
                        fields.append((current, quoted))
                    current, quoted = "", False
                current += part

        while (c := self.next()) and c not in " \t\n;)":
            if c == "'":
                end = self.text.find("'", self.at + 1)
                if end < 0:
                    raise _Refused(self.line, "a ' is never closed", "close the quotation")
                piece = self.text[self.at + 1 : end]
                self.at = end + 1
                add(piece, True)
            elif c == '"':
                add(self.double_quoted(), True)
            elif c == "\\":
                if self.next(2) != "\\\n":
                    add(self.next(2)[1:], True)
                self.at += 2
            elif c == "$":
                add(self.dollar(), False)
            elif c in "`<>|&(":
                self.running(c)
            elif split and c in "{*?[":
                what = f"{c!r} outside quotes, which a shell would expand"
                raise _Refused(self.line, what, "write the values out, or quote them")
            else:
                self.at += 1
                current += c
        if current or quoted or not split:
            fields.append((current, quoted))
        return fields

    def running(self, c: str) -> None:
        what = {"`": "a command in backticks", "(": "a subshell", "|": "a pipe", "&": "a command in the background"}
        raise _Refused(self.line, what.get(c, f"a redirection ({c})"), _RUNS)

    def double_quoted(self) -> str:
        start = self.line
        self.at += 1
        text = ""
        while (c := self.next()) != '"':
            if not c:
                raise _Refused(start, 'a " is never closed', "close the quotation")
            if c == "\\" and self.next(2)[1:] in ("$", "`", '"', "\\", "\n"):
                text += self.next(2)[1:].replace("\n", "")
                self.at += 2
            elif c == "$":
                text += self.dollar(quoted=True)
            elif c == "`":
                self.running(c)
            else:
                text += c
                self.at += 1
        self.at += 1
        return text

    def dollar(self, *, quoted: bool = False) -> str:
        """What comes with a "$"."""
        line = self.line
        if self.next(3) == "$((" or self.next(2) == "$[":
            raise _Refused(line, "arithmetic", _RUNS)
        if self.next(2) == "$(":
            raise _Refused(line, "a command substitution, $(…)", _RUNS)
        if self.next(2) in ("$'", '$"'):
            raise _Refused(line, f"the quotation {self.next(2)}", "use plain quotes")
        if name := _NAME.match(self.text, self.at + 1):
            self.at = name.end()
            return self.value(name[0])
        if self.next(2) != "${":
            if re.match(r"[\d@*#?$!-]", self.next(2)[1:]):
                raise _Refused(line, f"{self.next(2)}, which only a running shell knows", _RUNS)
            self.at += 1
            return "$"
        self.at += 2
        return self.braced(line, quoted)

    def braced(self, line: int, quoted: bool) -> str:
        name = _NAME.match(self.text, self.at)
        remedy = "write ${NAME}, ${NAME:-default}, or the value itself"
        if not name:
            raise _Refused(line, f"${{{self.next(10).split('}')[0]}}}", remedy)
        self.at = name.end()
        if self.next(3) in ("[@]", "[*]"):
            self.at += 3
        known = self.variables.get(name[0])
        operator = next((o for o in (":-", ":=", ":+", "-", "=", "+", "}") if self.text.startswith(o, self.at)), "")
        if not operator:
            raise _Refused(line, f"${{{name[0]}{self.next(3)}…}}", remedy)
        if operator == "}":
            self.at += 1
            return self.value(name[0])
        self.at += len(operator)
        default = self.default(line, quoted)
        there = known is not None and (bool(self.value(name[0])) or operator[0] != ":")
        if operator.endswith("+"):
            return default if there else ""
        if operator.endswith("=") and not there:
            self.variables[name[0]] = Variable(line, default)
        return self.value(name[0]) if there else default

    def default(self, line: int, quoted: bool) -> str:
        """The text up to the closing brace, with its quotes taken off and its variables put in."""
        text = ""
        while (c := self.next()) != "}":
            if not c:
                raise _Refused(line, "a '${' is never closed", "close it with '}'")
            if c == '"':
                text += self.double_quoted()
            elif c == "'" and not quoted:  # within double quotes it is a character like others
                end = self.text.find("'", self.at + 1)
                if end < 0:
                    raise _Refused(line, "a ' is never closed", "close the quotation")
                text += self.text[self.at + 1 : end]
                self.at = end + 1
            elif c == "\\":
                text += self.next(2)[1:]
                self.at += 2
            elif c == "$":
                text += self.dollar()
            elif c == "`":
                self.running(c)
            else:
                text += c
                self.at += 1
        self.at += 1
        return text

    def value(self, name: str) -> str:
        variable = self.variables.get(name)
        if variable is None:
            return ""
        return " ".join(variable.words) if variable.words is not None else variable.text
