"""A TOML table of which every key must be asked for, so that a mistyped one is an error that names file and key."""

from __future__ import annotations

import tomllib
from pathlib import Path

from vmcu.errors import VmcuError, fail

FIX = "correct the file; targets/ in vmcu has examples"


class Table:
    """The values of one table; each is taken by its type, and `end` refuses what nobody took."""

    def __init__(self, values: dict[str, object], where: str, fix: str = FIX) -> None:
        """`fix`: what an error tells the user to do."""
        self._values = dict(values)
        self._where = where
        self._fix = fix
        self._left = set(values)

    @classmethod
    def read(cls, path: Path) -> Table:
        """The file's outermost table.

        Raises:
            VmcuError: (INPUT) it is not TOML, or cannot be read.
        """
        where = f"{path.parent.name}/{path.name}"
        try:
            return cls(tomllib.loads(path.read_text(encoding="utf-8")), where)
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
            raise fail(f"is not TOML: {e}", where, "correct the file") from e
        except OSError as e:
            raise fail(f"cannot be read: {e.strerror}", where, "correct the file") from e

    def has(self, key: str) -> bool:
        return key in self._values

    def text(self, key: str) -> str:
        value = self._take(key)
        if not isinstance(value, str) or not value:
            raise self.error("must be a text", key)
        return value

    def text_or_none(self, key: str) -> str | None:
        return self.text(key) if self.has(key) else None

    def one_of(self, key: str, choices: tuple[str, ...]) -> str:
        value = self.text(key)
        if value not in choices:
            raise self.error(f"must be one of {', '.join(choices)}", key)
        return value

    def number(self, key: str) -> int:
        return self._number(self._take(key), key)

    def above_zero(self, key: str) -> int:
        value = self.number(key)
        if value == 0:
            raise self.error("must be more than 0", key)
        return value

    def decimal(self, key: str) -> float:
        value = self._take(key)
        if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < 1e6:
            raise self.error("must be a number above 0", key)
        return float(value)

    def texts(self, key: str) -> tuple[str, ...]:
        value = self._take(key)
        if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
            raise self.error("must be a list of texts", key)
        return tuple(value)

    def numbers(self, key: str, count: int | None = None) -> tuple[int, ...]:
        value = self._take(key)
        if not isinstance(value, list) or (count is not None and len(value) != count):
            raise self.error(f"must be a list of {'' if count is None else f'{count} '}numbers", key)
        return tuple(self._number(v, key) for v in value)

    def rows(self, key: str) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """A list of lists, each a word and numbers."""
        value = self._take(key)
        if not isinstance(value, list):
            raise self.error("must be a list of lists", key)
        found = []
        for row in value:
            if not isinstance(row, list) or not row or not isinstance(row[0], str):
                raise self.error(f"must be lists of a word and numbers, not {str(row)[:60]}", key)
            found.append((row[0], tuple(self._number(v, key) for v in row[1:])))
        return tuple(found)

    def table(self, key: str) -> Table:
        value = self._take(key)
        if not isinstance(value, dict):
            raise self.error("must be a table", key)
        return Table(value, f"{self._where} [{key}]", self._fix)

    def tables(self, key: str) -> tuple[Table, ...]:
        """An array of tables: [[key]]."""
        value = self._take(key)
        if not isinstance(value, list) or not value or not all(isinstance(v, dict) for v in value):
            raise self.error(f"must be one or more tables [[{key}]]", key)
        return tuple(Table(v, f"{self._where} [[{key}]] {i + 1}", self._fix) for i, v in enumerate(value))

    def end(self) -> None:
        """Raises where a key is left."""
        if self._left:
            raise self.error("is not a key vmcu knows", ", ".join(sorted(self._left)))

    def error(self, what: str, key: str) -> VmcuError:
        return fail(what, f"{self._where}: '{key}'", self._fix)

    def _take(self, key: str) -> object:
        if key not in self._values:
            raise self.error("is missing", key)
        self._left.discard(key)
        return self._values[key]

    def _number(self, value: object, key: str) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**32:
            raise self.error("must be a whole number of 0 to 2^32 - 1", key)
        return value
