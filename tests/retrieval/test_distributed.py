"""One process equals two, and what rank 0 does alone."""

import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist

from retrieval import distributed
from retrieval.beir_data import load_beir
from retrieval.bm25 import score_bm25
from retrieval.score_dataset import score_dataset
from sparse_model.errors import RunError, UserError
from tests.processes import fork
from tests.retrieval.bag_of_words import BagOfWords, random_beir

TIMINGS = ("encode_docs_per_s", "search_queries_per_s", "seconds")


def _fail() -> None:
    raise UserError("said by rank 0")


COLLECTIVES: list[Callable[[], object]] = [
    distributed.barrier,
    lambda: distributed.on_main(lambda: "nested"),
    lambda: distributed.broadcast("nested"),
    lambda: distributed.all_gather_arrays(np.zeros(1)),
]


def _refusal(collective: Callable[[], object]) -> str:
    """What every process is told where rank 0 alone calls what all must call."""
    try:
        distributed.on_main(collective)
    except RunError as error:
        return str(error)
    return "nothing"


def _in_two_processes(rank: int, folder: str, out: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{out}/rendezvous", rank=rank, world_size=2)
    lengths = [len(a) for a in distributed.all_gather_arrays(np.zeros((3 * rank, 2), np.float32))]
    gathered = np.concatenate(distributed.all_gather_arrays(np.arange(2 + rank) + 10 * rank))
    shared = distributed.broadcast(f"from {rank}")
    try:
        distributed.on_main(_fail)
        said = "nothing"
    except UserError as error:
        said = str(error)
    inside = distributed.on_main(lambda: (distributed.world_size(), distributed.rank(), distributed.is_main()))
    refused = [_refusal(collective) for collective in COLLECTIVES]
    data = load_beir(folder, "")
    result = score_dataset(BagOfWords(), data, top_k=50)
    kept = [score_dataset(BagOfWords(), data, top_k=50, vectors_folder=Path(out, "kept")) for _ in range(2)]
    answer = {
        "lengths": lengths,
        "gathered": gathered.tolist(),
        "shared": shared,
        "said": said,
        "inside": inside,
        "refused": refused,
        "figures": result.figures,
        "run": result.rankings,
        "bm25": score_bm25(data).figures,
        "kept": [scores.figures for scores in kept],
    }
    Path(out, f"{rank}.json").write_text(json.dumps(answer))
    # No destroy_process_group: in torch 2.5, right after a collective, it can wait forever for gloo's thread, which
    # waits for the interpreter's lock to free its tensors.
    dist.barrier()


@pytest.mark.distributed
def test_two_processes_equal_one(tmp_path: Path) -> None:
    """2500 documents are three blocks, two of them the first process's; ties abound across blocks.

    Vectors that two processes keep are those that one process keeps.
    """
    folder = str(random_beir(tmp_path / "blocks", 2500))
    fork(_in_two_processes, folder, str(tmp_path))
    answers: list[dict[str, Any]] = [json.loads((tmp_path / f"{r}.json").read_text()) for r in range(2)]
    for answer in answers:
        assert answer["lengths"] == [0, 3] and answer["gathered"] == [0, 1, 10, 11, 12]
        assert answer["shared"] == "from 0" and answer["said"] == "said by rank 0"
        assert answer["inside"] == [2, 0, True]
        assert all("take this out of on_main" in said for said in answer["refused"])
        assert len(answer["refused"]) == len(COLLECTIVES)
    data = load_beir(folder, "")
    alone, bm25 = score_dataset(BagOfWords(), data, top_k=50, vectors_folder=tmp_path / "alone"), score_bm25(data)
    assert [(tmp_path / "alone" / f"00000{b}.safetensors").read_bytes() for b in range(3)] == [
        (tmp_path / "kept" / f"00000{b}.safetensors").read_bytes() for b in range(3)
    ]
    assert {qid: [tuple(hit) for hit in hits] for qid, hits in answers[0]["run"].items()} == alone.rankings
    assert answers[1]["run"] == {}
    for answer in answers:
        kept = [(figures, alone.figures) for figures in answer["kept"]]
        for figures, expected in [(answer["figures"], alone.figures), (answer["bm25"], bm25.figures), *kept]:
            assert {k: v for k, v in figures.items() if k not in TIMINGS} == {
                k: v for k, v in expected.items() if k not in TIMINGS
            }


def test_one_process_needs_no_launcher() -> None:
    assert (distributed.rank(), distributed.world_size(), distributed.is_main()) == (0, 1, True)
    array = np.arange(3)
    assert distributed.all_gather_arrays(array)[0] is array and distributed.on_main(lambda: 5) == 5
    distributed.barrier()


@pytest.mark.parametrize("collective", COLLECTIVES, ids=["barrier", "on_main", "broadcast", "all_gather_arrays"])
def test_rank_0_alone_waits_for_nobody(collective: Callable[[], object]) -> None:
    """Refused with one process too: the other processes would never come."""
    with pytest.raises(RuntimeError, match="take this out of on_main"):
        distributed.on_main(collective)
    assert distributed.on_main(lambda: "goes on") == "goes on"


def test_two_threads_have_their_own_rank_0() -> None:
    """Two evaluations at once in one process do not take each other for something within `on_main`."""
    inside, done = threading.Event(), threading.Event()

    def wait() -> bool:
        inside.set()
        return done.wait(20)

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(distributed.on_main, wait)
        assert inside.wait(20) and distributed.on_main(lambda: 5) == 5
        done.set()
        assert waiting.result()
