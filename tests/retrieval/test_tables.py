"""Tables as text, Markdown and CSV."""

import csv
import io

from retrieval.tables import csv_table, markdown_table, text_table

ROWS = [["run", "loss", "NDCG@10"], ["a", "kldiv", "0.5"], ["longer", "", "0.1234"]]


def test_text_pads_columns_by_their_side():
    assert text_table(ROWS, "<<>").splitlines() == [
        "run     loss   NDCG@10",
        "a       kldiv      0.5",
        "longer          0.1234",
    ]


def test_the_last_side_stands_for_the_columns_after_it():
    assert text_table(ROWS, "<>") == text_table(ROWS, "<>>")
    assert markdown_table(ROWS, "<>").splitlines()[1] == "|---|---:|---:|"


def test_no_spaces_at_line_ends():
    assert text_table([["a", "b"], ["c", ""]], "<") == "a  b\nc"


def test_markdown_escapes_what_would_break_a_row():
    assert markdown_table([["a", "b"], ["x|y", "1 < 2\n3"]]) == "| a | b |\n|---|---|\n| x\\|y | 1 &lt; 2 3 |"


def test_markdown_makes_no_link_of_a_name():
    """Nor a picture, code or a link through a backslash of the name's own; a terminal's escapes are written out."""
    (line,) = markdown_table([["[x](javascript:a)", "\\[y](z)", "`c` \x1b[2J"]]).splitlines()[:1]
    assert line == r"| \[x\](javascript:a) | \\\[y\](z) | \`c\` \\x1b\[2J |"


def test_text_obeys_no_cell():
    assert text_table([["a\x1b]0;title\x07\nb", "1"]]) == r"a\x1b]0;title\x07\nb  1"


def test_csv_holds_no_formula():
    """Words only: numbers with a sign stay numbers, as text too."""
    cells = ["=cmd|'x'!A1", "+a", "-a", "@a", "\ta", "-0.5", "+1e3", -2.5, "a=b", ""]
    table = csv_table(["=x"], [{"=x": cell} for cell in cells])
    rows = [row[0] if row else "" for row in csv.reader(io.StringIO(table))]
    quoted = ["'=x", "'=cmd|'x'!A1", "'+a", "'-a", "'@a", "'\ta"]
    assert rows == [*quoted, "-0.5", "+1e3", "-2.5", "a=b", ""]


def test_csv_has_the_named_columns_only():
    assert csv_table(["b", "a"], [{"a": 1, "c": 2, "b": "x,y"}, {}]) == 'b,a\n"x,y",1\n,\n'
    assert csv_table(["a"], [], "\r\n") == "a\r\n"
