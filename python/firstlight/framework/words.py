"""`Words`: a short text of a small language, cut into words and stepped through from left to right.

The languages themselves, contracts and conditions on datasets, are recursive descents over it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TypeVar

from firstlight.errors import UserError

T = TypeVar("T")


class Words:
    """The words of one text, and the place that is reached.

    Parameters
    ----------
    text
    token
        Matches one word, in the groups ``number``, ``text``, ``name`` and ``sign``.
    error
        Makes the error that tells what is wrong with the text.
    deepest
        Parentheses, lists and signs inside one another.
    any_case
        Whether words of the language may be in capitals.

    Raises
    ------
    UserError
        From ``error``, if a part of the text is no word.
    """

    def __init__(
        self,
        text: str,
        token: re.Pattern[str],
        error: Callable[[str], UserError],
        *,
        deepest: int,
        any_case: bool = False,
    ) -> None:
        self._error = error
        self._deepest = deepest
        self._any_case = any_case
        self._words = list(self._split(text.rstrip(), token))
        self._at = 0
        self._depth = 0

    def __len__(self) -> int:
        return len(self._words)

    @property
    def at_end(self) -> bool:
        """Whether every word was taken."""
        return self._at == len(self._words)

    def peek(self) -> str:
        """Return the next word; empty at the end."""
        return "" if self.at_end else self._words[self._at][1]

    def next(self) -> tuple[str, str]:
        """Step over the next word, of which there must be one, and return its kind and itself."""
        self._at += 1
        return self._words[self._at - 1]

    def takes(self, *words: str) -> str:
        """Step over the next word if it is one of ``words``, and return it; empty if it is not."""
        kind, word = ("", "") if self.at_end else self._words[self._at]
        word = word.lower() if self._any_case else word
        if kind in ("sign", "name") and word in words:
            self._at += 1
            return word
        return ""

    def require(self, word: str) -> None:
        """Step over ``word``, which must come next."""
        if not self.takes(word):
            found = self.peek()
            raise self._error(f"{word!r} is missing" + (f" before {found!r}" if found else " at the end"))

    def require_end(self) -> None:
        """Refuse words that are left."""
        if not self.at_end:
            raise self._error(f"{self.peek()!r} was not expected")

    def deeper(self, parse: Callable[[], T]) -> T:
        """Return what ``parse`` makes of what stands inside of something."""
        self._depth += 1
        if self._depth > self._deepest:
            raise self._error("too many parentheses")
        result = parse()
        self._depth -= 1
        return result

    def _split(self, text: str, token: re.Pattern[str]) -> Iterator[tuple[str, str]]:
        at = 0
        while at < len(text):
            found = token.match(text, at)
            if found is None or found.lastgroup is None:
                raise self._error(f"{text[at:].split()[0][:40]!r} was not understood")
            yield found.lastgroup, found[found.lastgroup]
            at = found.end()
