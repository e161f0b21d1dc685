"""documents: a folder of one's own documents becomes the data of a run, documents/ and pseudo/ in its folder."""

from pathlib import Path

from experiment.settings.settings import Settings
from mining.documents.folder import Cutting, described, document_files, make_beir
from pairs.pseudo import make_pseudo


def make_own_documents(settings: Settings) -> list[str]:
    """Make both folders, as far as they are not there; sentences on what they hold. For the main process.

    Raises:
        UserError: for documents that cannot be used.
    """
    keys, folder = settings.data, settings.output_dir
    columns = {str(use): name for use, name in keys.document_columns.items()}
    cutting = Cutting(keys.passage_words, keys.passage_overlap, columns)
    made = make_beir(Path(str(keys.documents)).expanduser(), folder / "documents", cutting)
    log = Path(keys.queries).expanduser() if keys.queries else None
    places = folder / "documents", folder / "pseudo"
    asked = make_pseudo(*places, keys.pseudo_kinds, settings.value("seed"), log=log)
    return [
        f"{keys.documents}: {described(made)}.",
        f"Pseudo-queries ({', '.join(keys.pseudo_kinds)}): {asked['rows']} rows to train on; {asked['dev']} queries "
        f"of {asked['dev documents']} documents held out to choose by, {asked['test']} to report.",
    ]


def described_documents(settings: Settings) -> list[str]:
    """What would be done, line by line; nothing is written."""
    source, folder = Path(str(settings.data.documents)).expanduser(), settings.output_dir
    files = document_files(source)
    lengths = settings.evaluation.max_active_dims
    return [
        f"documents   {source}: {len(files)} files, {sum(path.stat().st_size for path in files) / 1e6:.1f} MB",
        f"passages    of at most {settings.data.passage_words} words, in {folder}/documents",
        f"queries     {', '.join(settings.data.pseudo_kinds)}, in {folder}/pseudo",
        f"rungs       start model, {settings.data.ladder_idf_share:g} of the documents' IDF, lexical share of "
        f"{settings.data.ladder_shares}, training of {settings.value('max_steps')} steps; judged at {lengths} tokens",
        f"start model {settings.model.model_name_or_path}",
        f"output_dir  {folder}",
    ]
