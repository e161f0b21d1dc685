"""The site: make docs, then docs/_build/index.html. Built without a network, and it needs none."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE / "_ext")]
os.environ["COLUMNS"] = "100"

project = "Inference-free sparse retrieval"
author = "the project's contributors"
copyright = author
language = "en"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "keys_page",
    "mathml",
    "outside_links",
]
exclude_patterns = ["_build"]

myst_enable_extensions = ["deflist", "dollarmath", "colon_fence"]
myst_heading_anchors = 3

default_role = "code"
highlight_language = "text"
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
napoleon_numpy_docstring = False
python_maximum_signature_line_length = 88

html_theme = "furo"
html_title = "Inference-free sparse retrieval"
html_static_path = ["_static"]
html_css_files = ["site.css"]
# Named by <picture>, which Sphinx does not look into.
html_extra_path = [f"{name}-{theme}.svg" for name in ("overview", "architecture") for theme in ("light", "dark")]
html_show_sphinx = False
html_show_copyright = False
html_math_renderer = "mathml"
html_copy_source = False
html_show_sourcelink = False
