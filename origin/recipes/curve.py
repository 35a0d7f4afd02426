"""The loss over the steps: a line of JSON for each measurement, and a picture of them."""

import json
from pathlib import Path

from .whole import write_whole

WIDTH, HEIGHT, MARGIN = 640, 320, 44
#: A point of the training curve is the mean of what lies within this part of all steps.
SMOOTHED = 1 / 200
COLORS = {"training": "#3465a4", "held out": "#cc4e1f"}

#: kind -> (step, loss)
Curves = dict[str, list[tuple[int, float]]]


class LossLog:
    """losses.jsonl of a run, from which loss.svg is drawn."""

    def __init__(self, folder: Path, step: int) -> None:
        """`step` steps are done: what an interrupted run wrote of later ones is dropped, it comes again."""
        self._file = folder / "losses.jsonl"
        self._picture = folder / "loss.svg"
        known = self._file.read_text().splitlines(keepends=True) if self._file.exists() else []
        # A machine that died may have left half a line at the end.
        kept = [line for line in known if line.endswith("\n") and json.loads(line)["step"] <= step]
        write_whole(self._file, "".join(kept))

    def add(self, kind: str, step: int, loss: float) -> None:
        """A measurement after `step` steps, in nats a token."""
        with self._file.open("a") as file:
            file.write(json.dumps({"kind": kind, "step": step, "loss": round(loss, 5)}) + "\n")

    def draw(self) -> None:
        """Draws everything that was measured."""
        curves: Curves = {kind: [] for kind in COLORS}
        for line in self._file.read_text().splitlines():
            point = json.loads(line)
            curves[point["kind"]].append((point["step"], point["loss"]))
        write_whole(self._picture, picture(curves))


def picture(curves: Curves) -> str:
    """The curves as an SVG."""
    points = [point for curve in curves.values() for point in curve]
    last = max((step for step, _ in points), default=1)
    top = max((loss for _, loss in points), default=1.0) or 1.0

    def x(step: float) -> float:
        return MARGIN + (WIDTH - 2 * MARGIN) * step / last

    def y(loss: float) -> float:
        return HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * loss / top

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="11">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{MARGIN}" y="18">loss, nats a token</text>',
        f'<text x="{WIDTH - MARGIN}" y="{HEIGHT - 8}" text-anchor="end">steps</text>',
    ]
    for part in range(5):
        loss, step = top * part / 4, last * part / 4
        parts += [
            f'<path d="M{MARGIN} {y(loss):.1f}H{WIDTH - MARGIN}" stroke="#ddd"/>',
            f'<text x="{MARGIN - 6}" y="{y(loss) + 4:.1f}" text-anchor="end">{loss:.2f}</text>',
            f'<text x="{x(step):.1f}" y="{HEIGHT - MARGIN + 16}" text-anchor="middle">{step:.0f}</text>',
        ]
    for i, (kind, curve) in enumerate(curves.items()):
        drawn = smoothed(curve, max(1, round(last * SMOOTHED))) if kind == "training" else curve
        line = " ".join(f"{x(step):.1f},{y(loss):.1f}" for step, loss in drawn)
        parts += [
            f'<polyline points="{line}" fill="none" stroke="{COLORS[kind]}" stroke-width="1.5"/>',
            f'<text x="{WIDTH - MARGIN}" y="{18 + 14 * i}" text-anchor="end" fill="{COLORS[kind]}">{kind}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])


def smoothed(curve: list[tuple[int, float]], steps: int) -> list[tuple[float, float]]:
    """Means of so many points at a time."""
    groups = [curve[start : start + steps] for start in range(0, len(curve), steps)]
    return [(sum(step for step, _ in each) / len(each), sum(loss for _, loss in each) / len(each)) for each in groups]
