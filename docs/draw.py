"""Draws the pictures of the documentation as SVG, each for light and for dark pages: python docs/draw.py"""

from html import escape
from pathlib import Path

HERE = Path(__file__).resolve().parent
WIDTH = 600
THEMES = {
    "light": {
        "page": "#ffffff",
        "text": "#1f2328",
        "soft": "#57606a",
        "line": "#57606a",
        "document": "#ddf4e4",
        "query": "#ddeefc",
        "index": "#fdf0d0",
        "plain": "#f3f4f6",
    },
    "dark": {
        "page": "#0d1117",
        "text": "#e6edf3",
        "soft": "#b6c0cb",
        "line": "#8b949e",
        "document": "#12402a",
        "query": "#123a5c",
        "index": "#4d3b0c",
        "plain": "#21262d",
    },
}


class Picture:
    """Boxes, arrows and texts on a page with a background of its own, so that it can be read anywhere."""

    def __init__(self, theme: str, height: int, title: str) -> None:
        self.colours, self.height, self.title = THEMES[theme], height, title
        self.parts: list[str] = []

    def text(
        self, x: float, y: float, words: str, size: int = 16, colour: str = "text", anchor: str = "middle"
    ) -> None:
        """One line, y its middle."""
        self.parts.append(
            f'<text x="{x:g}" y="{y + size * 0.35:g}" font-size="{size}" text-anchor="{anchor}" '
            f'fill="{self.colours[colour]}">{escape(words)}</text>'
        )

    def box(self, x: float, y: float, width: float, height: float, colour: str, *lines: str) -> None:
        """A box with its corner at x, y; the first line is its name, the others are smaller."""
        self.parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="8" '
            f'fill="{self.colours[colour]}" stroke="{self.colours["line"]}"/>'
        )
        top = y + height / 2 - 10 * (len(lines) - 1)
        for number, line in enumerate(lines):
            self.text(x + width / 2, top + 20 * number, line, 16 if number == 0 else 14, "soft" if number else "text")

    def arrow(self, *points: tuple[float, float]) -> None:
        """A line through the points with a head at the last."""
        path = " ".join(f"{'L' if number else 'M'}{x:g},{y:g}" for number, (x, y) in enumerate(points))
        self.parts.append(
            f'<path d="{path}" fill="none" stroke="{self.colours["line"]}" stroke-width="1.8" marker-end="url(#head)"/>'
        )

    def svg(self) -> str:
        """The whole file."""
        head = (
            f'<marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
            f'<path d="M0,0 L8,4 L0,8 z" fill="{self.colours["line"]}"/></marker>'
        )
        background = f'<rect width="{WIDTH}" height="{self.height}" rx="12" fill="{self.colours["page"]}"/>'
        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {self.height}" width="{WIDTH}" '
                f'height="{self.height}" font-family="system-ui, Segoe UI, Helvetica, Arial, sans-serif" '
                f'role="img">',
                f"<title>{escape(self.title)}</title>",
                f"<defs>{head}</defs>",
                background,
                *self.parts,
                "</svg>\n",
            ]
        )


def overview(theme: str) -> str:
    """Document and query on their ways to the inverted index; weights of rasyosef/splade-tiny and MS MARCO's IDF."""
    picture = Picture(theme, 424, "document → masked LM → sparse vector → inverted index ← tokenizer + IDF ← query")
    left, right, wide = 16, 312, 272
    picture.text(left + wide / 2, 20, "once, before anybody asks", 14, "soft")
    picture.text(right + wide / 2, 20, "at each query: no model", 14, "soft")
    picture.box(left, 38, wide, 58, "plain", "document", "Aspirin inhibits the synthesis of …")
    picture.box(left, 128, wide, 58, "document", "masked language model", "maximum over tokens, logarithms")
    picture.box(left, 218, wide, 58, "document", "sparse vector", "synthesis 2.1, pain 1.9, …")
    picture.box(right, 38, wide, 58, "plain", "query", "what inhibits pain")
    picture.box(right, 128, wide, 58, "query", "tokenizer + IDF table", "a look-up for each token")
    picture.box(right, 218, wide, 58, "query", "sparse vector", "a weight for each of its tokens")
    for x in (left + wide / 2, right + wide / 2):
        picture.arrow((x, 96), (x, 126))
        picture.arrow((x, 186), (x, 216))
        picture.arrow((x, 276), (x, 312))
    picture.box(
        left, 314, right + wide - left, 58, "index", "inverted index", "score = Σ query weight × document weight"
    )
    picture.text(WIDTH / 2, 396, "documents, best first", 14, "soft")
    return picture.svg()


def architecture(theme: str) -> str:
    """The folders as layers, each importing only from those below it, and the way a document takes through them."""
    picture = Picture(theme, 596, "the rooms of the code, and the way a document takes through them")
    full = WIDTH - 32
    picture.text(WIDTH / 2, 20, "imports point downwards", 14, "soft")
    picture.box(16, 36, full, 42, "plain", "train_ir.py  evaluate_beir.py  data_preparation.py")
    rooms = ("settings", "keys, YAML"), ("run", "one command"), ("sweep", "many configs"), ("report", "run folders")
    for number, (name, what) in enumerate(rooms):
        picture.box(24 + 139 * number, 122, 134, 56, "index", name, what)
    picture.parts.insert(
        0,
        f'<rect x="16" y="90" width="{full}" height="96" rx="8" fill="none" stroke="{picture.colours["line"]}"/>',
    )
    picture.text(WIDTH / 2, 106, "experiment/", 16)
    picture.box(16, 198, 180, 56, "document", "training/", "objective, trainer")
    picture.box(210, 198, 180, 56, "document", "mining/", "candidates, teachers")
    picture.box(404, 198, 180, 56, "document", "pairs/", "makers of pairs")
    picture.box(16, 266, full, 56, "query", "retrieval/", "BEIR data, encoding, search engines, metrics")
    picture.box(16, 334, 277, 56, "plain", "losses/", "pure functions")
    picture.box(307, 334, 277, 56, "plain", "sparse_model/", "the model and nothing else")
    picture.text(WIDTH / 2, 424, "the way of a document", 14, "soft")
    steps = ("text", "tokens.py"), ("masked LM", "encoder.py"), ("maximum", "head.py"), ("logarithms", "activations.py")
    for number, (name, where) in enumerate(steps):
        x = 16 + 147 * number
        picture.box(x, 440, 127, 56, "document", name, where)
        if number:
            picture.arrow((x - 20, 468), (x - 2, 468))
    ways = ("index, search", "engines"), ("figures", "metrics.py"), ("loss, gradient", "objective.py")
    for number, (name, where) in enumerate(ways):
        picture.box(16 + 196 * number, 528, 176, 56, ("query", "query", "document")[number], name, where)
    picture.arrow((192, 556), (210, 556))
    picture.arrow((500, 496), (500, 526))
    picture.arrow((460, 496), (460, 512), (104, 512), (104, 526))
    return picture.svg()


PICTURES = {"overview": overview, "architecture": architecture}


def files() -> dict[str, str]:
    """Every picture by its file name."""
    return {f"{name}-{theme}.svg": draw(theme) for name, draw in PICTURES.items() for theme in THEMES}


if __name__ == "__main__":
    for name, content in files().items():
        (HERE / name).write_text(content, encoding="utf-8")
