"""Hits as they are shown: rows of JSON, and lines of a terminal."""

from typing import Any

from retrieval.plain import plain_name
from retrieval.search.index import Hit, SearchIndex
from retrieval.search.snippets import snippet

TOKENS_SHOWN = 8


def as_rows(index: SearchIndex, hits: list[Hit]) -> list[dict[str, Any]]:
    """Hits as JSON has them; a snippet is [text, whether it is marked] pieces, a token has its share of the score."""
    return [
        {
            "id": hit.document.id,
            **({"document": hit.document.parent} if hit.document.parent else {}),
            "score": round(hit.score, 4),
            "title": hit.document.title,
            "snippet": [list(piece) for piece in snippet(hit, index.tokenizer)],
            "tokens": [
                {
                    "token": match.token,
                    "query_weight": round(match.query_weight, 4),
                    "document_weight": round(match.document_weight, 4),
                    "product": round(match.product, 4),
                    "share": round(match.product / hit.score, 4),
                }
                for match in hit.matches
            ],
        }
        for hit in hits
    ]


def as_lines(rows: list[dict[str, Any]], colour: bool) -> list[str]:
    """`as_rows` for a terminal; matching words are bold, or between * where there is no colour."""
    bold, dim, end = ("\x1b[1m", "\x1b[2m", "\x1b[0m") if colour else ("*", "", "*")
    lines = []
    for rank, row in enumerate(rows, 1):
        marked = (
            f"{bold}{plain_name(text)}{end}" if is_marked else plain_name(text) for text, is_marked in row["snippet"]
        )
        tokens = [f"{plain_name(t['token'])} {t['share']:.0%}" for t in row["tokens"]]
        more = f", {len(tokens) - TOKENS_SHOWN} more" if len(tokens) > TOKENS_SHOWN else ""
        lines += [
            f"{rank:3}  {row['score']:8.3f}  {plain_name(row['id'])}  {plain_name(row['title'])}".rstrip(),
            f"     {''.join(marked)}",
            f"     {dim}{', '.join(tokens[:TOKENS_SHOWN])}{more}{end if dim else ''}",
        ]
    return lines or ["no document shares a token with the query"]
