"""A BEIR folder as a task of MTEB's: `mteb.evaluate(SparseEncoder(checkpoint), retrieval_task(data))`, offline."""

from typing import Any

from retrieval.beir_data import BeirData


def retrieval_task(data: BeirData) -> Any:
    """A task of MTEB's Retrieval type over texts as they are ranked here."""
    import mteb
    from datasets import Dataset
    from mteb.abstasks.retrieval import AbsTaskRetrieval

    class Folder(AbsTaskRetrieval):
        metadata = mteb.TaskMetadata(
            name=f"{data.name.title().replace('-', '')}Folder",
            description=f"the BEIR folder {data.name}, split {data.split}",
            type="Retrieval",
            category="t2t",
            dataset={"path": data.name, "revision": data.fingerprint},
            eval_splits=[data.split],
            eval_langs=["eng-Latn"],
            main_score="ndcg_at_10",
        )

        def load_data(self, *_: Any, **__: Any) -> None:
            """From what was read already."""
            self.dataset = {
                "default": {
                    data.split: {
                        "corpus": Dataset.from_dict({"id": data.doc_ids, "text": data.texts}),
                        "queries": Dataset.from_dict({"id": data.query_ids, "text": data.queries}),
                        "relevant_docs": {query: dict(grades) for query, grades in data.qrels.items()},
                        "top_ranked": None,
                    }
                }
            }
            self.data_loaded = True

    return Folder()


def ndcg(checkpoint: str, data: BeirData) -> float:
    """NDCG@10 that MTEB computes of a checkpoint in sentence-transformers."""
    import mteb
    from sentence_transformers import SparseEncoder

    found = mteb.evaluate(
        SparseEncoder(checkpoint, device="cpu"),
        retrieval_task(data),
        cache=None,
        co2_tracker=False,
        encode_kwargs={"batch_size": 8, "show_progress_bar": False},
    )
    return float(found.task_results[0].scores[data.split][0]["ndcg_at_10"])
