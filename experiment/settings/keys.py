"""Every key of ours with its type, default and meaning, in groups; the meaning stands under the key."""

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from retrieval.beir_data import BEIR_13
from retrieval.metrics import DEFAULT_METRICS


def _split_commas(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    parts = re.split(r",(?![^()]*\))", value)  # a metric may hold commas between parentheses
    return [part.strip() for part in parts if part.strip()]


Names = Annotated[list[str], BeforeValidator(_split_commas)]
Positive = Annotated[int, Field(ge=1)]
NonNegative = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, lt=1)]


class Keys(BaseModel):
    # The string under a key is its meaning in --help.
    model_config = ConfigDict(use_attribute_docstrings=True, extra="forbid", protected_namespaces=())


class ModelKeys(Keys):
    """The model"""

    model_name_or_path: str | None = None
    """a masked LM, a checkpoint of ours or a sentence-transformers sparse encoder: folder or hub id"""
    tokenizer_name: str | None = None
    """folder or hub id of the tokenizer; null: the model's"""
    inf_free: bool = True
    """queries need no model: tokenizer and query weights only; false: siamese"""
    idf_path: str | None = None
    """query weights: null (the checkpoint's, else 1 for every token), a JSON file, a hub id, or corpus"""
    idf_requires_grad: bool = False
    """train the query weights, starting from the IDF"""
    idf_lr: NonNegative | None = None
    """learning rate of the query weights; null: learning_rate"""
    activation_type: Literal["relu", "l1_relu", "l2_relu", "l3_relu"] = "relu"
    """saturation: log1p applied 1, 2, 3 or 4 times to relu of the maximum logit"""
    use_l0: bool = False
    """older name for activation_type: l1_relu"""
    split_batch: Positive = 1
    """obsolete, without effect"""
    prune_ratio: Share | None = None
    """at encoding, weights below this share of the document's largest are dropped"""
    preprocess_func: None = None
    """only null is accepted"""
    model_overrides: dict[str, Any] = {}
    """fields of the model's config, e.g. {hidden_dropout_prob: 0.0}"""
    head_dtype: Literal["float32", "bfloat16"] = "float32"
    """precision of the vocabulary head's product; on a CPU with 8-bit products float32 is the faster"""


class DataKeys(Keys):
    """The training data"""

    max_seq_length: Positive = 512
    """tokens a document is cut to while training"""
    eval_max_seq_length: Positive | None = None
    """tokens the saved checkpoint cuts documents to; null: max_seq_length"""
    train_file: str | None = None
    """training rows: a datasets.save_to_disk folder, a .jsonl or a .parquet file"""
    train_file_dir: str | None = None
    """a folder of such; each batch comes from one of them"""
    data_type: Literal["kd", "posnegs"] | None = None
    """kd: rows {query, docs, scores}; posnegs: rows {query, pos, negs}"""
    sample_num_one_query: Positive = 2
    """kd: documents an example; posnegs: negatives an example"""
    swap_times: Annotated[int, Field(ge=0)] = 0
    """kd: random swaps in a row's sorted documents before it is cut into examples"""
    first_rank_thresh: int = 10000
    """rows whose first_rank is negative or above this are dropped"""
    score_scale: float = 1.0
    """multiplies kd scores"""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """divides student and teacher scores in kldiv and marginmse"""


class LossKeys(Keys):
    """The loss = ranking_loss_weight × Σ ranking losses + λ_d(step) · FLOPS_d (+ λ_q(step) · FLOPS_q)"""

    loss_types: Annotated[
        list[Literal["kldiv", "marginmse", "infonce"]], BeforeValidator(_split_commas), Field(min_length=1)
    ] = ["kldiv"]
    """ranking losses, added up"""
    ranking_loss_weight: NonNegative = 1.0
    """weight of the ranking losses"""
    use_in_batch_negatives: bool = False
    """every other document of the (gathered) batch is a negative; kldiv and marginmse then need teachers"""
    flops_d_lambda: NonNegative = 1e-3
    """λ_d, the weight of FLOPS over documents"""
    flops_d_T: Positive = 10000
    """optimizer steps over which λ_d rises quadratically"""
    flops_threshold: NonNegative | None = None
    """ℓ0 mask: documents with at most this many active tokens are left out of FLOPS; null: no mask"""
    decouple_activation: bool = False
    """FLOPS sees log1p(w), ranking and inference see w"""
    flops_q_lambda: NonNegative | None = None
    """λ_q; needed with inf_free: false"""
    flops_q_T: Positive | None = None
    """optimizer steps over which λ_q rises; needed with inf_free: false"""
    flops_grouping: Literal["published", "pooled"] = "published"
    """published: mean over queries per document slot, summed over slots (the paper's λ); pooled: one mean"""
    kd_ensemble_teacher_kwargs: dict[str, Any] | None = None
    """teachers that score each batch while training: {types: [dense or sparse, …], model_ids: [folder or hub id, …],
    teacher_tokenizer_ids: [the models'], score_scale: 30, trust_remote_code: false}. Their scores are brought to 0 … 1
    (in-batch: over a query's row; else over all pairs of the batch), averaged, multiplied by score_scale"""


class EvaluationKeys(Keys):
    """The evaluation"""

    beir_dir: str = "data/beir"
    """folder of BEIR data sets; those that are absent are downloaded into it"""
    beir_datasets: Names = list(BEIR_13)
    """names (BEIR's, NanoBEIR's, or folders in beir_dir) or paths of BEIR folders; list or comma string; name:dev
    scores another split than `split` says, name:dev+test the queries of both"""
    eval_beir_datasets: Names | None = None
    """data sets scored while training, as eval_strategy says"""
    split: str | None = None
    """qrels to score; null: test (dev for msmarco); train where data are prepared"""
    engine: Literal["exact", "opensearch"] = "exact"
    """exact: an inverted index in memory; opensearch: a server (opensearch_url) or a private node (opensearch_home)"""
    metrics: Names = list(DEFAULT_METRICS)
    """ir_measures names such as nDCG@20, RR@10, R@1000, P(rel=2)@5, and R_cap@100 (BEIR's capped recall), the one that
    counts first; another list is computed from the runs that are stored, without encoding"""
    top_k: Positive = 1000
    """hits a query"""
    baseline: Literal["bm25"] | None = None
    """score BM25 instead of a model"""
    query_prune: Share = 0.0
    """query weights of at most this share of the query's largest are dropped; what that loses is reported"""
    round_weights: bool = False
    """exact engine: document weights rounded to what an OpenSearch index stores, to compare the two"""
    skip_ingest: bool = False
    """opensearch: search the complete index that is there already, or fail"""
    do_search: bool = True
    """opensearch: false: index only"""
    use_two_phase: bool = False
    """opensearch: score by the heavy tokens, rescore the best by all; what that loses is reported"""
    evaluation_name: str | None = None
    """folder under evaluation/ for other than default settings; null: named by the differing keys"""


class OpenSearchKeys(Keys):
    """The OpenSearch engine (user and password: OPENSEARCH_USERNAME, OPENSEARCH_PASSWORD in the environment)"""

    opensearch_url: Names = ["http://localhost:9200"]
    """a server, or several nodes of one cluster (list or comma string); no port: http 9200, https 443"""
    opensearch_home: str | None = None
    """folder of an unpacked OpenSearch; a private node is started from it for the run and stopped after it"""
    opensearch_heap: Annotated[str, Field(pattern=r"^[1-9]\d*[mMgG]$")] = "1g"
    """heap of the private node, as Java writes it"""
    opensearch_ca: str | None = None
    """file of certificates to trust instead of the system's"""
    opensearch_verify: bool = True
    """false: any TLS certificate is accepted"""
    opensearch_threads: Positive = 4
    """requests at once, of each process"""
    index_shards: Annotated[int, Field(ge=1, le=1024)] = 1
    """shards of a new index"""
    index_replicas: Annotated[int, Field(ge=0)] = 0
    """further copies of each shard, made once everything is loaded"""
    keep_index: bool | None = None
    """keep the index after the run; null: yes, but on a private node only with skip_ingest (else with its folder)"""


class TeacherKeys(Keys):
    """One entry of `teachers`"""

    type: Literal["sparse", "dense", "cross_encoder", "monot5"]
    """sparse (siamese unless its checkpoint says otherwise) and dense encode texts, the others read pairs"""
    model_name_or_path: str
    """folder or hub id"""
    max_length: Positive = 512
    """tokens a text (or a pair) is cut to"""
    batch_size: Positive = 32
    """texts (or pairs) of max_length that a batch may hold"""
    weight: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    """in the mean over teachers"""
    dtype: Literal["float32", "bfloat16", "float16"] | None = None
    """null: bfloat16 on a GPU that has it, else float32"""
    pooling: Literal["cls", "mean", "max"] | None = None
    """dense: null: as its 1_Pooling/config.json says, else the first token"""
    query_prefix: str = ""
    """text before each query"""
    document_prefix: str = ""
    """text before each document"""
    trust_remote_code: bool = False
    """run the Python code that the model's repository brings"""


PAPER_TEACHERS = [
    TeacherKeys(type="sparse", model_name_or_path="opensearch-project/opensearch-neural-sparse-encoding-v1"),
    TeacherKeys(type="dense", model_name_or_path="Alibaba-NLP/gte-large-en-v1.5"),
    TeacherKeys(type="cross_encoder", model_name_or_path="cross-encoder/ms-marco-MiniLM-L-12-v2"),
    TeacherKeys(type="monot5", model_name_or_path="castorini/monot5-3b-msmarco-10k"),
]


class PreparationKeys(Keys):
    """Data preparation (data_preparation.py; its miner: model_name_or_path, idf_path, max_seq_length, engine)"""

    dataset: str = "msmarco"
    """a data set with training qrels: a name, or the path of a BEIR folder; its split: train unless `split` says so"""
    source: str | None = None
    """published rows of ids to turn into texts instead of mining: hub id, or a file or folder of that form"""
    num_candidates: Positive = 100
    """documents a query"""
    include_positives: bool = True
    """judged documents that were not found take the places of the lowest candidates"""
    teachers: Annotated[list[TeacherKeys], Field(min_length=1)] = PAPER_TEACHERS
    """list of {type, model_name_or_path, …}; unless given, the paper's four"""
    normalization: Literal["minmax", "zscore", "none"] = "minmax"
    """of each teacher's scores, before the weighted mean over teachers"""
    normalization_scope: Literal["batch", "query"] = "batch"
    """over consecutive queries together (the paper), or each query on its own"""
    normalization_batch_size: Positive = 50
    """queries of such a batch"""
    shard_size: Positive = 1000
    """queries of a working file; a stopped run goes on from the last whole one"""
    trust_remote_code: bool = False
    """as if every teacher said so"""


class RunKeys(Keys):
    """The run"""

    output_dir: str | None = None
    """where everything goes; null: output/<config path under config/>, or output/<model's name>; data/<dataset>_ft"""
    dry_run: bool = False
    """resolve everything, print the plan, run nothing"""
    overwrite: bool = False
    """command line only: move the old output_dir aside and start anew"""
    traceback: bool = False
    """show tracebacks"""


GROUPS: dict[str, type[Keys]] = {
    "model": ModelKeys,
    "data": DataKeys,
    "loss": LossKeys,
    "evaluation": EvaluationKeys,
    "opensearch": OpenSearchKeys,
    "preparation": PreparationKeys,
    "run": RunKeys,
}
GROUP_OF = {key: name for name, group in GROUPS.items() for key in group.model_fields}
