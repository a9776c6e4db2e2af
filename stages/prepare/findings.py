"""What the checks of one annotation file found: errors, what is left out, warnings."""

from collections import Counter
from pathlib import Path

from stages.files import StageError

LONGEST_VALUE = 200
"""Characters of a value from the file that a message repeats."""


class Findings:
    """Counts per kind, and the message of the first error of each kind.

    Attributes:
        errors: entries that break a rule; fatal when strict, else left out.
        dropped: entries left out although nothing is wrong with them (crowds).
        warnings: what is kept, or corrected, but worth knowing.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self.errors: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self.warnings: Counter[str] = Counter()
        self._first: dict[str, tuple[int, str]] = {}

    def error(self, kind: str, position: int, message: str, count: int = 1) -> None:
        """Count errors of one kind; ``position`` in the file orders the messages."""
        self.errors[kind] += count
        found = (position, message)
        self._first[kind] = min(self._first.get(kind, found), found)

    @property
    def skipped(self) -> dict[str, int]:
        """Entries that the prepared dataset lacks, by kind."""
        return dict(self.errors + self.dropped)

    def examples(self) -> list[str]:
        """One line per kind of error, with its count and its first message."""
        return [
            f"{self.file}: skipped {count} x {kind}; first: {self._first[kind][1]}"
            for kind, count in self.errors.items()
        ]

    def raise_errors(self) -> None:
        """Raise the first error of the file, with the number of further ones.

        Raises:
            StageError: there is at least one error.
        """
        if not self.errors:
            return
        kind, (_, message) = min(self._first.items(), key=lambda item: item[1])
        lines = [f"{self.file}: {message}"]
        further = self.errors - Counter([kind])
        if further:
            kinds = ", ".join(f"{count} x {name}" for name, count in further.items())
            lines.append(f"{further.total()} further found: {kinds}.")
        lines.append("Correct the data, or set strict: false to skip and count these.")
        raise StageError("\n".join(lines))


def shown(value: object) -> str:
    """``repr`` of a value from a file, escaped and short enough for a message."""
    text = repr(value)
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 3] + "..."
