"""`python -m tests.golden.report`: how many recorded answers are the same, better, not ours, or wrong."""

from __future__ import annotations

import sys
from collections import Counter

from tests.golden import asking, tables
from tests.golden.recorded import cases

COLUMNS = ("same", "better", "not ours", "failing")


def main() -> int:
    """Print the counts by group and by reason; 1 when a case fails."""
    asked = [case for case in cases().values() if case.id not in tables.not_ours()]
    answers = asking.ask_all(asked)
    counts: Counter[tuple[str, str]] = Counter()
    failing: list[str] = []
    for case in cases().values():
        verdict = "not ours" if case.id in tables.not_ours() else tables.judge(case, answers[case.id])
        if verdict not in COLUMNS:
            failing.append(f"{case.id}: {verdict}")
            verdict = "failing"
        counts[case.group, verdict] += 1
    groups = list(dict.fromkeys(case.group for case in cases().values()))
    _row("group", *COLUMNS)
    for group in groups:
        _row(group, *(counts[group, column] for column in COLUMNS))
    _row("all", *(sum(counts[group, column] for group in groups) for column in COLUMNS))
    print("\nbetter, by reason:")
    reasons = Counter(difference.reason for difference in tables.differences().values())
    for reason, count in reasons.most_common():
        print(f"{count:5} {reason}: {tables.reasons()[reason]}")
    for line in failing:
        print(line, file=sys.stderr)
    return 1 if failing else 0


def _row(*cells: object) -> None:
    print(f"{cells[0]!s:<12}" + "".join(f"{cell!s:>10}" for cell in cells[1:]))


if __name__ == "__main__":
    sys.exit(main())
