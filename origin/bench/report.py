"""Figures as people and programs read them: Markdown tables, JSON, and the results between two markers of README.md."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from .rounds import Figure

MARKERS = ("<!-- results -->", "<!-- /results -->")
HEAD = "| figure | best | median | middle half | rounds | compared |\n|---|---|---|---|---|---|"


@dataclass(frozen=True)
class Goal:
    """What is wanted, and what the run gave."""

    figure: str
    wanted: str
    got: str


@dataclass(frozen=True)
class Section:
    """Figures that belong together: those of one section were measured in turn."""

    title: str
    figures: tuple[Figure, ...]
    notes: tuple[str, ...] = ()
    goals: tuple[Goal, ...] = ()


def markdown(sections: Sequence[Section], machine: str, command: str) -> str:
    goals = [goal for section in sections for goal in section.goals]
    parts = [_section(section) for section in sections]
    if goals:
        rows = [f"| {goal.figure} | {goal.wanted} | {goal.got} |" for goal in goals]
        parts.append("\n".join(["### What is wanted", "", "| figure | wanted | this run |", "|---|---|---|", *rows]))
    return "\n\n".join([*parts, f"{machine}; `{command}`"])


def _section(section: Section) -> str:
    table = "\n".join([HEAD, *map(_row, section.figures)])
    return "\n\n".join([f"### {section.title}", table, *section.notes])


def _row(figure: Figure) -> str:
    low, high = (grouped(value) for value in middle_half(figure.values))
    compared = ", ".join(f"{grouped(statistics.median(share.values))} {share.of}" for share in figure.shares)
    cells = [
        figure.name,
        grouped(max(figure.values)),
        f"{grouped(statistics.median(figure.values))} {figure.unit}",
        "" if low == high else f"{low} – {high}",
        str(len(figure.values)),
        compared,
    ]
    return f"| {' | '.join(cells)} |"


def middle_half(values: Sequence[float]) -> tuple[float, float]:
    if len(values) == 1:
        return values[0], values[0]
    first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    return first, third


def grouped(value: float) -> str:
    """A number with its digits in groups of three, and no more of them than mean anything."""
    rounded = float(f"{value:.3g}")
    return f"{rounded:,.0f}".replace(",", " ") if abs(rounded) >= 100 else f"{rounded:g}"


def as_json(sections: Sequence[Section], machine: str, command: str) -> str:
    """Everything, every round's value included."""
    content = {"machine": machine, "command": command, "sections": [asdict(section) for section in sections]}
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def write_results(file: Path, results: str) -> None:
    """Writes results into a Markdown file between its markers."""
    text = file.read_text()
    start, end = (text.index(marker) for marker in MARKERS)
    file.write_text(f"{text[:start]}{MARKERS[0]}\n\n{results}\n\n{text[end:]}")
