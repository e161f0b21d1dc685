"""Every key of ours with its type, default and meaning, in groups; the meaning stands under the key."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from experiment.settings.effects import Changes, Effect, key
from experiment.settings.trainer_keys import EFFECTS as TRAINER_EFFECTS
from experiment.settings.trainer_keys import effect_of
from experiment.settings.trainer_keys import fields as trainer_fields
from experiment.settings.value_types import (
    EXACT,
    Activation,
    Cuts,
    DataSets,
    EngineName,
    Language,
    Length,
    LexicalShareValue,
    Name,
    Names,
    NonNegative,
    OnlineType,
    Positive,
    PseudoKinds,
    RankingLosses,
    Seeds,
    Several,
    Share,
    Shares,
)
from mining.teachers import TeacherSpec
from retrieval.dataset_names import BEIR_13
from retrieval.metrics import DEFAULT_METRICS

WEIGHTS, BEST, VECTORS, RESULT = Changes.WEIGHTS, Changes.BEST, Changes.VECTORS, Changes.RESULT
FIGURES, ROWS, PACE, NOTHING = Changes.FIGURES, Changes.ROWS, Changes.PACE, Changes.NOTHING
MEASURED = Changes.MEASURED


class Keys(BaseModel):
    """A group of keys, frozen: type, default and what a change makes anew; the string under a key is its meaning."""

    model_config = ConfigDict(use_attribute_docstrings=True, extra="forbid", protected_namespaces=(), frozen=True)


class ModelKeys(Keys):
    """The model"""

    model_name_or_path: str | None = key(None, WEIGHTS | VECTORS | ROWS | PACE, main_for="train evaluate prepare")
    """a masked LM, a checkpoint of ours or a sentence-transformers sparse encoder: folder or hub id"""
    revision: Name | None = key(None, WEIGHTS | VECTORS, only_given=True)
    """branch, tag or commit of the model's hub repository; null: the newest (or as sparse_model/pins.py says)"""
    code_revision: Name | None = key(None, WEIGHTS | VECTORS, only_given=True)
    """the same of the repository that its Python code lies in (trust_remote_code)"""
    activation_type: Activation = key("relu", WEIGHTS | VECTORS, told=True, main_for="train")
    """saturation: log1p applied 1, 2, 3 or 4 times to relu of the maximum logit"""
    idf_path: str | None = key(None, WEIGHTS | VECTORS, told=True, always_meant=True, main_for="train evaluate")
    """query weights: null (the checkpoint's, else 1 for every token), a JSON file, a hub id, or corpus"""
    idf_revision: Name | None = key(None, WEIGHTS | VECTORS, only_given=True)
    """branch, tag or commit of the hub repository that idf_path names; null: the newest"""
    max_seq_length: Length = key(
        512, WEIGHTS | VECTORS | PACE, told=True, always_meant=True, main_for="train evaluate prepare"
    )
    """tokens a document is cut to"""
    inf_free: bool = key(True, WEIGHTS | VECTORS, told=True)
    """queries need no model: tokenizer and query weights only; false: siamese"""
    query_prompt: str | None = key(None, WEIGHTS | VECTORS, told=True)
    """text before each query; its tokens are the query's, of inference-free queries too; null: none"""
    document_prompt: str | None = key(None, WEIGHTS | VECTORS, told=True)
    """text before each document; a corpus' IDF and lexical shares are of documents without it; null: none"""
    head_dtype: Literal["float32", "bfloat16", "int8"] = key("float32", WEIGHTS | VECTORS)
    """precision of the vocabulary head's product; on a CPU with 8-bit products float32 is the faster. int8: float32's
    values, on an NVIDIA GPU of those entries alone that a product in 8 bits lets pass (never measured)"""
    prune_ratio: Several[Share | None] = key(None, VECTORS | MEASURED, each=True)
    """at encoding, weights below this share of the document's largest are dropped; an evaluation takes several"""
    tokenizer_name: str | None = key(None, WEIGHTS | VECTORS)
    """folder or hub id of the tokenizer (id@revision for other than its newest); null: the model's"""
    lowercase: bool = key(False, WEIGHTS | VECTORS, only_given=True)
    """texts are lower-cased, by the tokenizer, which is saved so: for cased backbones"""
    model_overrides: dict[str, Any] = key({}, WEIGHTS | VECTORS)
    """fields of the model's config, e.g. {hidden_dropout_prob: 0.0}"""
    eval_max_seq_length: Length | None = key(None, VECTORS | MEASURED)
    """tokens the saved checkpoint cuts documents to; null: max_seq_length"""
    idf_requires_grad: bool = key(False, WEIGHTS)
    """train the query weights, starting from the IDF"""
    average_last: Positive = key(1, WEIGHTS)
    """the final weights are the mean of so many last checkpoints' (save_steps, save_total_limit)"""
    start_share: Annotated[float, Field(ge=0, lt=1)] = key(0.0, WEIGHTS)
    """share of the start model's weights in the final ones"""
    idf_lr: NonNegative | None = key(None, WEIGHTS)
    """learning rate of the query weights; null: learning_rate"""
    idf_form: Literal["table", "embedding"] = key("table", WEIGHTS)
    """how query weights are trained (idf_requires_grad), from the IDF on: table: a number a token; embedding: a
    function of tokens' input embeddings, so that a token moves with those that are like it; saved as a table"""
    idf_decay: NonNegative = key(0.0, WEIGHTS)
    """trained query weights are drawn to the IDF, as weight decay draws to 0 (learning rate × decay a step)"""


class DataKeys(Keys):
    """The training data"""

    train_file: str | None = key(None, WEIGHTS, main_for="train")
    """training rows: a datasets.save_to_disk folder, a .jsonl or a .parquet file, or of the Hugging Face hub:
    hub:owner/name, hub:owner/name/config, each maybe with @revision (branch, tag or commit)"""
    train_file_dir: str | None = key(None, WEIGHTS)
    """a folder of such; each batch comes from one of them"""
    columns: dict[Literal["query", "pos", "negs", "docs", "scores", "first_rank"], Names] = key({}, WEIGHTS)
    """where the rows' columns are called or shaped otherwise: {query: anchor, pos: positive, negs: [negative_1,
    negative_2]}; texts or lists, in every training file"""
    documents: str | None = key(None, WEIGHTS, main_for="train")
    """one's own documents, without queries: a folder of .txt, .md, .html, .jsonl, .csv or .parquet, one such file of
    rows, or a BEIR folder; train_ir.py then makes queries of them, climbs the ladder, evaluates and reports"""
    document_columns: dict[Literal["id", "title", "text"], str] = key({}, WEIGHTS)
    """of documents in rows: {text: NAME, title: NAME, id: NAME}, where the columns are called otherwise"""
    passage_words: Annotated[int, Field(ge=10)] | None = key(200, WEIGHTS)
    """longer documents are cut at headings or sentences into passages of at most so many words; null: not cut"""
    passage_overlap: Annotated[int, Field(ge=0)] = key(0, WEIGHTS)
    """words that stand in two passages"""
    pseudo_kinds: PseudoKinds = key(["titles", "headings", "cloze", "spans", "keywords"], WEIGHTS)
    """queries made of documents: titles, headings, first_sentences, cloze, spans, keywords; what stands twice is drawn
    twice as often"""
    queries: str | None = key(None, WEIGHTS)
    """with documents: a file of queries that people asked, without judgements, a line each (or .jsonl with text): spans
    and keywords become as long as they are, of the words that they use"""
    pseudo_negatives: Annotated[int, Field(ge=0)] = key(0, WEIGHTS)
    """with documents: hard negatives of a row at most, an example each sample_num_one_query of them: passages that its
    query finds beside its own and that do not nearly score as it does; 0: none"""
    ladder_idf_share: Annotated[float, Field(gt=0, le=1)] = key(0.5, WEIGHTS)
    """share of the documents' IDF in the query weights that are tried; the rest is the start model's"""
    ladder_shares: Shares = key([0.1, 0.25, 0.5], WEIGHTS)
    """lexical shares that are tried on held-out pseudo-queries (see lexical_share)"""
    ladder_min_shift: Annotated[float, Field(ge=0, le=1)] = key(0.03, WEIGHTS)
    """documents that are no farther from the texts behind the start model's query weights (Jensen-Shannon divergence of
    common tokens' document frequencies) are its home: pseudo-queries mislead there, nothing is tried; 0: always"""
    data_command: str | None = key(None, NOTHING)
    """the command that makes the data which the same file names (train_file, train_file_dir, data sets in beir_dir);
    never run, but said where they are missing"""
    data_type: Literal["kd", "posnegs"] | None = key(None, WEIGHTS | PACE, main_for="train")
    """kd: rows {query, docs, scores}; posnegs: rows {query, pos, negs}"""
    sample_num_one_query: Positive = key(2, WEIGHTS | PACE)
    """kd: documents an example; posnegs: negatives an example"""
    swap_times: Annotated[int, Field(ge=0, le=100_000)] = key(0, WEIGHTS)
    """kd: random swaps in a row's sorted documents before it is cut into examples"""
    first_rank_thresh: int = key(10000, WEIGHTS)
    """rows whose first_rank is above this are dropped, and those below 0, unless they are published ones (source)"""
    score_scale: float | Literal["auto"] = key(1.0, WEIGHTS)
    """multiplies kd scores; auto: what brings their spread to that of the untrained model's scores"""
    temperature: Annotated[float, Field(gt=0)] = key(1.0, WEIGHTS)
    """divides student and teacher scores in kldiv and marginmse"""


class OnlineTeachers(Keys):
    """Teachers while training (kd_ensemble_teacher_kwargs)"""

    types: Annotated[list[OnlineType], Field(min_length=1)]
    """dense or sparse, one for each teacher"""
    model_ids: Annotated[list[Name], Field(min_length=1)]
    """folder or hub id, one for each teacher"""
    teacher_tokenizer_ids: list[Name] | None = None
    """folder or hub id of the tokenizers, one for each teacher; null: the models'"""
    revisions: list[Name | None] | None = None
    """branch, tag or commit of the models' repositories, one for each teacher; null: the newest"""
    code_revisions: list[Name | None] | None = None
    """the same of the repositories that their Python code lies in"""
    score_scale: Annotated[float, Field(gt=0, allow_inf_nan=False, strict=True)] = 30.0
    """multiplies the teachers' mean score"""
    trust_remote_code: bool = False
    """run the Python code that the models' repositories bring"""

    @model_validator(mode="after")
    def _one_for_each(self) -> "OnlineTeachers":
        """Raises ValueError if the lists differ in length."""
        names = ("types", "model_ids", "teacher_tokenizer_ids", "revisions", "code_revisions")
        lists = {name: getattr(self, name) for name in names}
        counts = {name: len(listed) for name, listed in lists.items() if listed is not None}
        if len(set(counts.values())) > 1:
            found = ", ".join(f"{name} has {count}" for name, count in counts.items())
            raise ValueError(f"one entry for each teacher is needed, but {found}.")
        return self


class LossKeys(Keys):
    """The loss = ranking_loss_weight × Σ ranking losses + λ_d(step) · FLOPS_d (+ λ_q(step) · FLOPS_q)"""

    loss_types: RankingLosses = key(["kldiv"], WEIGHTS, main_for="train")
    """ranking losses, added up"""
    ranking_loss_weight: NonNegative = key(1.0, WEIGHTS)
    """weight of the ranking losses"""
    micro_batch_documents: Positive | None = key(None, PACE)
    """a batch's documents go through the model so many at a time, and once more in backward: gradients are those of the
    whole batch, memory is that of a piece, a step takes about a third longer; null: all at once"""
    contrastive_temperature: Annotated[float, Field(gt=0)] = key(1.0, WEIGHTS)
    """divides scores in losses that need no teacher (infonce)"""
    elastic_lengths: Cuts = key([], WEIGHTS)
    """ranking losses of documents cut to these lengths (max_active_dims), one a step in turn, null: not cut; the model
    can then be cut to any of them when it is used"""
    elastic_whole_weight: NonNegative = key(0.5, WEIGHTS)
    """with elastic_lengths: weight of the same losses of documents that are not cut"""
    train_lexical_share: LexicalShareValue = key(0.0, WEIGHTS, told=True)
    """documents are scored with this lexical share (see lexical_share) added before any cut, so that weights learn what
    words alone do not say; average length and df are the training documents'"""
    train_lexical_idf: bool = key(False, WEIGHTS, told=True)
    """that share times the training documents' IDF"""
    use_in_batch_negatives: bool = key(False, WEIGHTS)
    """every other document of the (gathered) batch is a negative; kldiv and marginmse then need teachers"""
    flops_d_lambda: NonNegative = key(1e-3, WEIGHTS, main_for="train")
    """λ_d, the weight of FLOPS over documents"""
    flops_d_T: Positive = key(10000, WEIGHTS)
    """optimizer steps over which λ_d rises quadratically"""
    target_d_length: Annotated[float, Field(gt=0)] | None = key(None, WEIGHTS, main_for="train")
    """tokens a document that training is to end with: λ_d then begins at a hundredth of flops_d_lambda, and a
    controller moves it; flops_d_T has no part"""
    target_flops: Annotated[float, Field(gt=0)] | None = key(None, WEIGHTS)
    """the same for FLOPS, as an evaluation measures it: the mean number of products of a query and a document"""
    target_steps: Positive = key(10, WEIGHTS)
    """optimizer steps from one measurement to the next, of documents that are not trained on"""
    flops_threshold: NonNegative | None = key(None, WEIGHTS, main_for="train")
    """ℓ0 mask: documents with at most this many active tokens are left out of FLOPS; null: no mask"""
    decouple_activation: bool = key(False, WEIGHTS)
    """FLOPS sees log1p(w), ranking and inference see w"""
    flops_q_lambda: NonNegative | None = key(None, WEIGHTS)
    """λ_q; needed with inf_free: false"""
    flops_q_T: Positive | None = key(None, WEIGHTS)
    """optimizer steps over which λ_q rises; needed with inf_free: false"""
    flops_grouping: Literal["published", "pooled"] = key("published", WEIGHTS)
    """published: mean over queries per document slot, summed over slots (the paper's λ); pooled: one mean"""
    flops_estimator: Literal["mean", "unbiased"] = key("mean", WEIGHTS)
    """mean: the square of the batch's mean; unbiased: the mean over pairs of documents of different queries, for which
    λ means the same whatever the batch, its documents a query, and the processes are"""
    flops_df_alpha: Annotated[float, Field(gt=0, lt=1)] | None = key(None, WEIGHTS)
    """DF-FLOPS: a token pays half of its part of FLOPS if this share of documents has it, less if fewer have it, more
    if more have it (0.1 is a start); null: all pay the whole"""
    flops_df_beta: Annotated[float, Field(gt=0)] = key(10.0, WEIGHTS)
    """with flops_df_alpha: how steep that rises around alpha"""
    idf_l1: NonNegative = key(0.0, WEIGHTS)
    """weight of the sum of a query's trained weights (idf_requires_grad) in the loss"""
    kd_ensemble_teacher_kwargs: OnlineTeachers | None = key(None, WEIGHTS)
    """teachers that score each batch while training, as a mapping of the keys under "Teachers while training". Their
    scores are brought to 0 … 1 (in-batch: over a query's row; else over all pairs of the batch), averaged, multiplied
    by score_scale"""

    @property
    def target(self) -> tuple[Literal["d_length", "flops"], float] | None:
        """(the figure, its value) that training is to end with."""
        if self.target_d_length is not None:
            return "d_length", self.target_d_length
        return None if self.target_flops is None else ("flops", self.target_flops)


class EvaluationKeys(Keys):
    """The evaluation"""

    beir_dir: str = key("data/beir", NOTHING)
    """folder of BEIR data sets; those that are absent are downloaded into it"""
    beir_datasets: DataSets = key(list(BEIR_13), NOTHING, main_for="evaluate")
    """names (BEIR's, NanoBEIR's, hub:owner/name of the Hugging Face hub, irds:ID of ir_datasets, folders in beir_dir)
    or paths of BEIR folders; list or comma string; name:dev scores another split than `split` says, name:dev+test the
    queries of both; cqadupstack is its twelve folders, whose mean counts as one"""
    eval_beir_datasets: DataSets | None = key(None, BEST)
    """data sets scored while training, as eval_strategy says"""
    split: str | None = key(None, RESULT | ROWS, by_default=True, main_for="evaluate")
    """qrels to score; null: test (dev for msmarco); train where data are prepared"""
    engine: EngineName = key(EXACT, RESULT | ROWS | PACE, by_default=True, main_for="evaluate prepare")
    """exact: an inverted index in memory; opensearch: a server (opensearch_url) or a private node (opensearch_home)"""
    metrics: Names = key(list(DEFAULT_METRICS), FIGURES, main_for="evaluate")
    """ir_measures names such as nDCG@20, RR@10, R@1000, P(rel=2)@5, and R_cap@100 (BEIR's capped recall), the one that
    counts first; another list is computed from the runs that are stored, without encoding"""
    top_k: Positive = key(1000, RESULT, by_default=True)
    """hits a query"""
    baseline: Literal["bm25"] | None = key(None, RESULT | PACE, by_default=True, main_for="evaluate")
    """score BM25 instead of a model"""
    bm25_language: Language | None = key("english", RESULT)
    """whose stemmer and stop words BM25 uses; null: words as they are"""
    drop_query_id: Literal["auto", True, False] = key("auto", RESULT)
    """leave the document of the query's own id out of a ranking, unless it is judged relevant: auto: where it has the
    query's text, as in ArguAna and Quora; true: in every data set, as BEIR does"""
    passages: Literal["best", "sum"] = key("best", RESULT)
    """the score of a document that was cut into passages: its best passage's, or their sum"""
    query_prune: Share = key(0.0, RESULT, by_default=True)
    """query weights of at most this share of the query's largest are dropped; what that loses is reported"""
    max_active_dims: Several[Positive | None] = key(None, RESULT, each=True, main_for="evaluate")
    """documents are cut to so many tokens, the heaviest; null: as the checkpoint says, else not. Several, as in
    [null, 96, 48], are an evaluation each, for which documents are encoded once"""
    cut_by: Literal["weight", "weight_df"] = key("weight", RESULT)
    """what max_active_dims and prune_ratio go by: weight, or weight × ln(N/df), where the token has a weight in df of
    the corpus' N vectors: cheaper queries at the same length"""
    lexical_share: Several[LexicalShareValue | Literal["auto"] | None] = key(None, RESULT, told=True, each=True)
    """so many times what BM25 would store of a document's own tokens is added to its vector, before any cut; null: the
    share that the model was trained under (train_lexical_share), else 0; auto: 0, or one of 0.1, 0.25 and 0.5, with the
    IDF or without, that other queries find better; an evaluation takes several values"""
    lexical_idf: bool | None = key(None, RESULT, told=True)
    """the lexical share times the corpus' IDF; null: as the model was trained"""
    round_weights: bool = key(False, RESULT | ROWS, by_default=True)
    """exact engine: document weights rounded to what an OpenSearch index stores, to compare the two"""
    skip_ingest: bool = key(False, NOTHING)
    """opensearch: search the complete index that is there already, or fail"""
    do_search: bool = key(True, NOTHING)
    """opensearch: false: index only"""
    use_two_phase: bool = key(False, RESULT, by_default=True)
    """opensearch: score by the heavy tokens, rescore the best by all; what that loses is reported"""
    index_method: Literal["rank_features", "seismic"] = key("rank_features", RESULT | ROWS)
    """opensearch: seismic: approximate, by clusters of postings (OpenSearch 3.3 or newer with k-NN and neural-search);
    an index of rank_features lies beside it, and what is lost against that is reported"""
    seismic_parameters: dict[str, Any] = key({}, RESULT | ROWS)
    """index_method: seismic: what OpenSearch takes with the field, e.g. {n_postings: 4000, cluster_ratio: 0.1,
    approximate_threshold: 1000000}"""
    seismic_search: dict[str, Any] = key({}, RESULT | ROWS)
    """index_method: seismic: what it takes with a query: {top_n: 10, heap_factor: 1.0}"""
    keep_vectors: bool | None = key(None, NOTHING)
    """keep the documents' vectors beside the results, for other engines, splits and query weights (6 bytes for each
    weight); null: of corpora of at most a million documents, if the disk has room"""
    evaluation_name: str | None = key(None, NOTHING)
    """folder under evaluation/ for other than default settings; null: named by the differing keys"""


class OpenSearchKeys(Keys):
    """The OpenSearch engine (user and password: OPENSEARCH_USERNAME, OPENSEARCH_PASSWORD in the environment)"""

    opensearch_url: Names = key(["http://localhost:9200"], NOTHING)
    """a server, or several nodes of one cluster (list or comma string); no port: http 9200, https 443"""
    opensearch_home: str | None = key(None, NOTHING)
    """folder of an unpacked OpenSearch; a private node is started from it for the run and stopped after it"""
    opensearch_heap: Annotated[str, Field(pattern=r"^[1-9]\d{0,5}[mMgG]$")] = key("1g", NOTHING)
    """heap of the private node, as Java writes it"""
    opensearch_ca: str | None = key(None, NOTHING)
    """file of certificates to trust instead of the system's"""
    opensearch_verify: bool = key(True, NOTHING)
    """false: any TLS certificate is accepted"""
    opensearch_threads: Annotated[int, Field(ge=1, le=256)] = key(4, NOTHING)
    """requests at once, of each process"""
    index_shards: Annotated[int, Field(ge=1, le=1024)] = key(1, NOTHING)
    """shards of a new index"""
    index_replicas: Annotated[int, Field(ge=0, le=1024)] = key(0, NOTHING)
    """further copies of each shard, made once everything is loaded"""
    keep_index: bool | None = key(None, NOTHING)
    """keep the index after the run; null: yes, but on a private node only with skip_ingest (else with its folder)"""


PAPER_TEACHERS = [
    TeacherSpec(type="sparse", model_name_or_path="opensearch-project/opensearch-neural-sparse-encoding-v1"),
    TeacherSpec(type="dense", model_name_or_path="Alibaba-NLP/gte-large-en-v1.5"),
    TeacherSpec(type="cross_encoder", model_name_or_path="cross-encoder/ms-marco-MiniLM-L-12-v2"),
    TeacherSpec(type="monot5", model_name_or_path="castorini/monot5-3b-msmarco-10k"),
]


class PreparationKeys(Keys):
    """Data preparation (data_preparation.py; its miner: model_name_or_path, idf_path, max_seq_length, engine)"""

    dataset: str = key("msmarco", ROWS, main_for="prepare")
    """a data set with training qrels: a name, or the path of a BEIR folder; its split: train unless `split` says so"""
    source: str | None = key(None, ROWS)
    """published rows of ids to turn into texts instead of mining: hub id, or a file or folder of that form"""
    source_revision: Name | None = key(None, ROWS, only_given=True)
    """branch, tag or commit of the hub repository that source names; null: the newest"""
    num_candidates: Positive = key(100, ROWS, main_for="prepare")
    """documents a query"""
    include_positives: bool = key(True, ROWS)
    """judged documents that were not found take the places of the lowest candidates"""
    teachers: Annotated[list[TeacherSpec], Field(min_length=1)] = key(PAPER_TEACHERS, ROWS, main_for="prepare")
    """list of {type, model_name_or_path, …}; unless given, the paper's four"""
    normalization: Literal["minmax", "zscore", "none"] = key("minmax", ROWS)
    """of each teacher's scores, before the weighted mean over teachers"""
    normalization_scope: Literal["batch", "query"] = key("batch", ROWS)
    """over consecutive queries together (the paper), or each query on its own"""
    normalization_batch_size: Positive = key(50, ROWS)
    """queries of such a batch"""
    shard_size: Positive = key(1000, NOTHING)
    """queries of a working file; a stopped run goes on from the last whole one"""


class RunKeys(Keys):
    """The run"""

    output_dir: str | None = key(None, NOTHING, main_for="train evaluate prepare")
    """where everything goes; null: output/<config path under config/>, or output/<model's name>; data/<dataset>_ft"""
    dry_run: bool = key(False, NOTHING, main_for="train evaluate prepare")
    """resolve everything, print the plan, run nothing"""
    overwrite: bool = key(False, NOTHING, main_for="train evaluate prepare")
    """command line only: move the old output_dir aside and start anew"""
    seeds: Seeds | None = key(None, NOTHING)
    """run_reproduce.sh: one run for each of these seeds, in folders <name>_seed<N> (without suffix that of `seed`)"""
    trust_remote_code: bool = key(False, NOTHING)
    """run the code that models' repositories bring, as if every teacher said so too; that of gte-large, at a fixed
    commit, runs without"""
    traceback: bool = key(False, NOTHING)
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
GROUP_OF = {name: group for group, keys in GROUPS.items() for name in keys.model_fields}
OURS: dict[str, Effect] = {
    name: field.json_schema_extra["effect"]  # type: ignore[index, misc]
    for keys in GROUPS.values()
    for name, field in keys.model_fields.items()
}


def effect(name: str) -> Effect:
    """What a key of ours or of the Trainer's says of itself."""
    return OURS[name] if name in OURS else effect_of(name)


def is_known(name: str) -> bool:
    """Whether a key can be given here: of ours, or a field of the installed Trainer."""
    return name in OURS or name in trainer_fields()


def keys_that_change(kinds: Changes, *groups: str) -> list[str]:
    """The keys that change one of `kinds`: of these groups, or of all and the Trainer's.

    In the order in which they are defined.
    """
    names = [name for name in OURS if not groups or GROUP_OF[name] in groups]
    names += [] if groups else TRAINER_EFFECTS
    return [name for name in names if effect(name).changes_any(kinds)]
