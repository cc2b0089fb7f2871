"""pyproject.toml and the imports of insitu -> docs/house.svg: its rooms on their floors.

    python bench/draw_house.py [--out FILE]

A room is a folder or a module of the package; the floors are those of the first contract of
import-linter. An arrow is an import between rooms that does not follow from others. The picture
is the same text for the same imports, wherever it is drawn.
"""

from __future__ import annotations

import argparse
import itertools
import tomllib
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "docs" / "house.svg"

WAY = (
    *("frontends", "prepare", "quantize", "differentiate", "plan", "generate"),
    *("firmware", "run", "measure", "report"),
)
"""The rooms in the order in which the data passes them, as in docs/architecture.md."""

WIDTH, ROOM, HEIGHT, GAP, EDGE = 960, 122, 32, 46, 24
"""Of the picture; of a room and its height; between two floors; around all. Pixels."""

Arrow = tuple[str, str]
Floors = list[list[str]]
Places = dict[str, float]


def main(out: Path) -> None:
    """Write the picture."""
    out.write_text(picture(read_floors(), needed(read_imports())), encoding="utf-8")


def read_floors() -> Floors:
    """The rooms of each floor, from the top down."""
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    layers = tools["importlinter"]["contracts"][0]["layers"]
    return [[room.strip() for room in layer.split("|")] for layer in layers]


def read_imports() -> set[Arrow]:
    """(room, a room that it imports), without the imports that are for types alone."""
    graph = grimp.build_graph("insitu", exclude_type_checking_imports=True, cache_dir=None)
    rooms = {room for floor in read_floors() for room in floor}
    pairs = {
        (f"{module}.".split(".")[1], f"{imported}.".split(".")[1])
        for module in graph.modules
        for imported in graph.find_modules_directly_imported_by(module)
    }
    return {(a, b) for a, b in pairs if a != b and {a, b} <= rooms}


def needed(imports: set[Arrow]) -> list[Arrow]:
    """The imports that do not follow from others."""
    reached = {arrow: {arrow[1]} for arrow in imports}
    for _ in imports:
        for (_, b), rooms in reached.items():
            rooms.update(*(reached[c, d] for c, d in imports if c == b))
    return sorted(
        (a, b)
        for a, b in imports
        if not any(b in reached[c, d] for c, d in imports if c == a and d != b)
    )


class Drawing:
    """Rooms, and the places where long arrows pass a floor, each with its x.

    Attributes:
        floors: names, from left to right; "room@floor" is where arrows to a room pass.
        lines: (name, name) from one floor to the next.
    """

    def __init__(self, floors: Floors, arrows: list[Arrow]) -> None:
        """Lay it out."""
        level = {room: i for i, floor in enumerate(floors) for room in floor}
        lines = set()
        for a, b in arrows:
            passed = [f"{b}@{i}" for i in range(level[a] + 1, level[b])]
            lines |= set(itertools.pairwise((a, *passed, b)))
        self.lines = sorted(lines)
        passes = sorted({name for line in lines for name in line if "@" in name})
        self.floors = [
            [*floor, *(name for name in passes if name.endswith(f"@{i}"))]
            for i, floor in enumerate(floors)
        ]
        self._order()
        self.x = self._spread()

    def neighbours(self, name: str, *, above: bool) -> list[str]:
        """What lines join with a name, on the floor above or below."""
        return [a if above else b for a, b in self.lines if (b if above else a) == name]

    def crossings(self) -> int:
        """Pairs of lines that cross."""
        at = {name: i for floor in self.floors for i, name in enumerate(floor)}
        level = {name: i for i, floor in enumerate(self.floors) for name in floor}
        return sum(
            (at[a] - at[c]) * (at[b] - at[d]) < 0
            for (a, b), (c, d) in itertools.combinations(self.lines, 2)
            if level[a] == level[c]
        )

    def _order(self) -> None:
        """Few crossings: names near the middle of their neighbours, then swaps that help."""
        best = (self.crossings(), [list(floor) for floor in self.floors])
        for sweep in range(12):
            above = sweep % 2 == 0
            for floor in self.floors if above else reversed(self.floors):
                at = {n: (i + 0.5) / len(f) for f in self.floors for i, n in enumerate(f)}
                near = {n: [at[m] for m in self.neighbours(n, above=above)] for n in floor}
                floor.sort(key=lambda n: sum(near[n]) / len(near[n]) if near[n] else at[n])
            best = min(best, (self.crossings(), [list(floor) for floor in self.floors]))
        least, self.floors = best
        changed = True
        while changed:
            changed = False
            for floor in self.floors:
                for i, j in itertools.combinations(range(len(floor)), 2):
                    floor[i], floor[j] = floor[j], floor[i]
                    if self.crossings() < least:
                        least, changed = self.crossings(), True
                    else:
                        floor[i], floor[j] = floor[j], floor[i]

    def _spread(self) -> Places:
        """Each x near the middle of its neighbours; no two closer than they may be."""
        x: Places = {}
        for floor in self.floors:
            x |= {n: WIDTH * (i + 0.5) / len(floor) for i, n in enumerate(floor)}
        for _ in range(200):
            for floor in self.floors:
                for name in floor:
                    near = [self.neighbours(name, above=above) for above in (True, False)]
                    means = [sum(x[n] for n in names) / len(names) for names in near if names]
                    x[name] += 0.5 * (sum(means) / len(means) - x[name]) if means else 0
                x |= _parted(floor, x)
        return {name: round(place) for name, place in x.items()}


def _parted(floor: list[str], x: Places) -> Places:
    """The names of a floor apart from each other, within the picture."""
    right, left = _pushed(floor, x), _mirrored(_pushed(floor[::-1], _mirrored(x)))
    between = _pushed(floor, {name: (right[name] + left[name]) / 2 for name in floor})
    return _mirrored(_pushed(floor[::-1], _mirrored(between)))


def _pushed(floor: list[str], x: Places) -> Places:
    """Each name as far to the right as those before it need."""
    places, end = {}, float(EDGE)
    for name in floor:
        half = 14 if "@" in name else ROOM / 2 + 8
        places[name] = max(x[name], end + half)
        end = places[name] + half
    return places


def _mirrored(x: Places) -> Places:
    return {name: WIDTH - place for name, place in x.items()}


STYLE = """<style>
text { font: 14px ui-monospace, Menlo, Consolas, monospace; fill: #1b2733; text-anchor: middle }
.small { font-size: 12px; fill: #44525f; text-anchor: start }
.number { font-size: 11px; font-weight: bold; fill: #ffffff }
.floor { fill: #eef1f4 }
.room { fill: #ffffff; stroke: #7b8794 }
.way { fill: #dcebfa; stroke: #1f6fb5 }
.dot { fill: #1f6fb5 }
path { fill: none; stroke: #7b8794; stroke-width: 1.3 }
.head { fill: #7b8794; stroke: none }
</style>"""


def picture(floors: Floors, arrows: list[Arrow]) -> str:
    """The SVG's text."""
    drawing = Drawing(floors, arrows)
    height = EDGE + len(floors) * (HEIGHT + GAP) + 24
    top = {n: EDGE + i * (HEIGHT + GAP) for i, f in enumerate(drawing.floors) for n in f}
    said = "Rooms of insitu on their floors; arrows are imports, all of them downward"
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{said}">',
        STYLE,
        f'<rect width="{WIDTH}" height="{height}" rx="8" fill="#fafbfc"/>',
    ]
    for floor in drawing.floors:
        y = top[floor[0]] - 7
        parts.append(f'<rect class="floor" x="8" y="{y}" width="{WIDTH - 16}" height="46" rx="6"/>')
    parts += [_line(drawing, top, line) for line in drawing.lines]
    parts += [_room(room, drawing.x[room], top[room]) for floor in floors for room in floor]
    legend = (
        "arrow: imports (without those that follow from others)",
        "blue, numbered: the way of a network, from a file to a report",
    )
    for x, words in zip((EDGE, WIDTH // 2), legend, strict=True):
        parts.append(f'<text class="small" x="{x}" y="{height - 16}">{words}</text>')
    return "\n".join([*parts, "</svg>\n"])


def _room(room: str, x: float, y: int) -> str:
    kind = "way" if room in WAY else "room"
    box = f'<rect class="{kind}" x="{x - ROOM // 2}" y="{y}" width="{ROOM}" height="{HEIGHT}" '
    parts = [f'{box}rx="5"/><text x="{x}" y="{y + 21}">{room}</text>']
    if room in WAY:
        left = x - ROOM // 2
        parts.append(f'<circle class="dot" cx="{left}" cy="{y}" r="9"/>')
        parts.append(f'<text class="number" x="{left}" y="{y + 4}">{WAY.index(room) + 1}</text>')
    return "".join(parts)


def _line(drawing: Drawing, top: dict[str, int], line: Arrow) -> str:
    """From the lower edge of a room, or of a floor that is passed, to the next floor."""
    a, b = line
    x, y = _port(drawing, a, b, above=False), top[a] + HEIGHT
    u, v = _port(drawing, b, a, above=True), top[b]
    middle = (y + v) // 2
    if "@" in b:
        return f'<path d="M{x} {y}C{x} {middle} {u} {middle} {u} {v}V{v + HEIGHT}"/>'
    head = f'<path class="head" d="M{u} {v}l-4 -8h8z"/>'
    return f'<path d="M{x} {y}C{x} {middle} {u} {middle} {u} {v - 6}"/>{head}'


def _port(drawing: Drawing, name: str, other: str, *, above: bool) -> float:
    """Where a line meets a room: side by side, in the order of where they go."""
    if "@" in name:
        return drawing.x[name]
    others = sorted(drawing.neighbours(name, above=above), key=lambda n: (drawing.x[n], n))
    step = min(20, (ROOM - 30) // len(others))
    return round(drawing.x[name] + (others.index(other) - (len(others) - 1) / 2) * step)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=OUT)
    main(parser.parse_args().out)
