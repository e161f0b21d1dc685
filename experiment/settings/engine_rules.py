"""Combinations of keys that one search engine or the other cannot work with."""

import ssl
from collections.abc import Container

from experiment.settings.keys import EvaluationKeys, OpenSearchKeys
from experiment.settings.mistakes import Mistake
from experiment.settings.value_types import EXACT
from retrieval.opensearch.address import NO_ADDRESS, split_address
from retrieval.opensearch.heap import BASE_HEAP, MIB
from sparse_model.errors import UserError


def keeps_index(evaluation: EvaluationKeys, opensearch: OpenSearchKeys) -> bool:
    """Whether indexes stay after the run: unless told otherwise those on a server, and those that were there before."""
    if opensearch.keep_index is not None:
        return opensearch.keep_index
    return opensearch.opensearch_home is None or evaluation.skip_ingest


def engine_mistakes(evaluation: EvaluationKeys, opensearch: OpenSearchKeys, given: Container[str]) -> list[Mistake]:
    """A mistake for each; given: the keys that the user wrote."""
    if evaluation.engine == EXACT:
        return _exact_mistakes(evaluation)
    found = _seismic_mistakes(evaluation)
    if evaluation.baseline:
        found.append(Mistake("baseline", "bm25 is ranked in memory; use engine: exact."))
    if evaluation.round_weights:
        found.append(Mistake("round_weights", "is for engine: exact; OpenSearch always rounds."))
    if evaluation.skip_ingest and not evaluation.do_search:
        found.append(Mistake("skip_ingest", "nothing is left to do with do_search: false."))
    if not evaluation.do_search and not keeps_index(evaluation, opensearch):
        found.append(Mistake("do_search", "false loads an index that is then removed; give keep_index: true."))
    if opensearch.opensearch_home and "opensearch_url" in given:
        why = "starts a node of its own, opensearch_url names one; give one of them."
        found.append(Mistake("opensearch_home", why))
    if opensearch.opensearch_home and _mebibytes(opensearch.opensearch_heap) < BASE_HEAP // MIB:
        why = f"{opensearch.opensearch_heap} is too little for a node; {BASE_HEAP // MIB}m or more."
        found.append(Mistake("opensearch_heap", why))
    if opensearch.opensearch_ca:
        found += _authority_mistakes(opensearch.opensearch_ca)
    return found + _address_mistakes(opensearch.opensearch_url)


def _seismic_mistakes(evaluation: EvaluationKeys) -> list[Mistake]:
    if evaluation.index_method != "seismic":
        named = [key for key in ("seismic_parameters", "seismic_search") if getattr(evaluation, key)]
        return [Mistake(key, "needs index_method: seismic.") for key in named]
    from retrieval.opensearch.seismic import INDEXING, SEARCHING

    found = [
        Mistake(key, f"{name} is none of {', '.join(known)}.")
        for key, known in (("seismic_parameters", INDEXING), ("seismic_search", SEARCHING))
        for name in getattr(evaluation, key)
        if name not in known
    ]
    if evaluation.use_two_phase:
        found.append(Mistake("use_two_phase", "does not work with index_method: seismic; give one of them."))
    if evaluation.keep_vectors is False:
        found.append(Mistake("keep_vectors", "index_method: seismic reads the vectors several times; leave it out."))
    return found


def _exact_mistakes(evaluation: EvaluationKeys) -> list[Mistake]:
    asked = {"skip_ingest": evaluation.skip_ingest, "use_two_phase": evaluation.use_two_phase}
    found = [Mistake(key, "true needs engine: opensearch.") for key, value in asked.items() if value]
    if evaluation.index_method == "seismic":
        found.append(Mistake("index_method", "seismic needs engine: opensearch."))
    return found + ([] if evaluation.do_search else [Mistake("do_search", "false needs engine: opensearch.")])


def _mebibytes(heap: str) -> int:
    """Of what the pattern of opensearch_heap lets through: 512m, 2g."""
    return int(heap[:-1]) * (1024 if heap[-1] in "gG" else 1)


def _authority_mistakes(file: str) -> list[Mistake]:
    try:
        ssl.create_default_context(cafile=file)
    except FileNotFoundError:
        return [Mistake("opensearch_ca", f"there is no file {file}.")]
    except OSError:  # ssl.SSLError is one
        return [Mistake("opensearch_ca", f"{file} holds no certificate; a PEM file is needed.")]
    return []


def _address_mistakes(urls: list[str]) -> list[Mistake]:
    if not urls:
        return [Mistake("opensearch_url", "empty; name a server, or give opensearch_home.")]
    try:
        for url in urls:
            split_address(url)
    except UserError:
        return [Mistake("opensearch_url", NO_ADDRESS)]
    return []
