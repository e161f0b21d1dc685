"""python -m sparse_model.export FORM CHECKPOINT OUT: a checkpoint in a form that another program loads.

    python -m sparse_model.export onnx output/x output/x-onnx

OUT is a folder that is new or empty. `python -m sparse_model.verify CHECKPOINT` compares the forms with the checkpoint.
"""

import argparse
import sys
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from sparse_model.commands import exit_code, new_folder, require_new


class Form(NamedTuple):
    """What can be made of a checkpoint."""

    module: str
    """whose `export(encoder, folder, **options)` writes it; its `require(**options)` tells first what is missing"""
    help: str
    options: dict[str, dict[str, Any]] = {}
    """--name → what argparse is told of it"""


FORMS = {
    "onnx": Form(
        "sparse_model.export.onnx",
        "model.onnx (raw logits) and pooled.onnx (weights), with the tokenizer",
        {"--int8": {"action": "store_true", "help": "products in 8-bit integers: faster on CPUs, not exact"}},
    ),
    "fastembed": Form("sparse_model.export.fastembed", "the folder that FastEmbed loads by specific_model_path"),
    "opensearch": Form(
        "sparse_model.export.opensearch",
        "models for ML Commons, with the bodies of the calls and how-to.md",
        {
            "--name": {"default": "inference-free-sparse", "help": "of the models (%(default)s)"},
            "--version": {"default": "1.0.0", "help": "of the models (%(default)s)"},
            "--index": {"default": "documents", "help": "the index in how-to.md (%(default)s)"},
            "--field": {"default": "text_sparse", "help": "where vectors go (%(default)s)"},
            "--text-field": {"default": "text", "help": "what is encoded (%(default)s)"},
        },
    ),
}


def main(argv: list[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m sparse_model.export", description=(__doc__ or "").partition("\n")[0]
    )
    forms = parser.add_subparsers(dest="form", required=True, metavar="FORM")
    for name, form in FORMS.items():
        of_form = forms.add_parser(name, help=form.help, description=form.help)
        of_form.add_argument("checkpoint", help="a folder or hub id that sparse_model.load takes")
        of_form.add_argument("out", type=Path, help="the folder to write: new or empty")
        for option, says in form.options.items():
            of_form.add_argument(option, **says)
    options = vars(parser.parse_args(argv))
    form, checkpoint, out = FORMS[options.pop("form")], options.pop("checkpoint"), options.pop("out")
    return exit_code(lambda: _export(form, checkpoint, out, options))


def _export(form: Form, checkpoint: str, out: Path, options: dict[str, Any]) -> None:
    require_new(out)
    module = import_module(form.module)
    module.require(**options)
    import sparse_model

    encoder = sparse_model.load(checkpoint)
    if missed := encoder.trained_share.missed:
        print(f"note: {missed}", file=sys.stderr)
    if encoder.prompts:
        print(f"note: texts are tokenised behind {encoder.prompts.words}: put it there yourself.", file=sys.stderr)
    with new_folder(out) as folder:
        module.export(encoder, folder, **options)
        written = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    print(f"{out}: {', '.join(map(str, written))}")


if __name__ == "__main__":
    sys.exit(main())
