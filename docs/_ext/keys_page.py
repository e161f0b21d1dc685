"""The page of every key: what `--help all` knows, put in place of a marker while the site is built."""

from typing import TYPE_CHECKING, Any

from experiment.settings.help import Described, groups

if TYPE_CHECKING:
    from sphinx.application import Sphinx

MARKER = "<!-- every key -->"


def keys_markdown() -> str:
    """A section for each group of keys, an entry for each key."""
    return "\n\n".join(
        "\n\n".join([f"## {title}", *map(_entry, described)]) for title, described in groups() if described
    )


def _entry(key: Described) -> str:
    """A definition: name, type and default; then the meaning and what a change of it makes anew."""
    sentence = _plain(key.meaning).removesuffix(".") + "."
    notes = f"\\\n  *A change makes anew:* {key.effect.words}." if key.effect else ""
    notes += " A checkpoint tells it." if key.effect and key.effect.told else ""
    return f"`{key.name}` ({_plain(key.type)}; {_code(key.default)})\n: {sentence}{notes}"


def _code(default: str) -> str:
    return f"`{default}`" if default != "required" else default


def _plain(text: str) -> str:
    """Text that Markdown shows as it is; what stands between backticks stays code."""
    parts = text.split("`")
    if len(parts) % 2 == 0:
        parts = [text.replace("`", "'")]
    for number in range(0, len(parts), 2):
        for character in "\\<>*_[]{}|#$~":
            parts[number] = parts[number].replace(character, "\\" + character)
    return "`".join(parts)


def _fill(app: "Sphinx", name: str, source: list[str]) -> None:
    if MARKER in source[0]:
        source[0] = source[0].replace(MARKER, keys_markdown())


def setup(app: "Sphinx") -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("source-read", _fill)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
