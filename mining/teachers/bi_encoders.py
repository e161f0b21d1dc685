"""Teachers that encode queries and documents one by one: learned sparse ones and dense ones."""

from collections.abc import Sequence

import numpy as np
import torch
from scipy.sparse import csr_matrix, vstack
from torch import Tensor
from torch.nn.functional import normalize
from transformers import AutoModel

from mining.teachers.batches import Rows, Runner
from mining.teachers.dense_layout import check_prompts, dense_layout
from mining.teachers.spec import Progress, Role, TeacherSpec, no_progress
from sparse_model import load
from sparse_model.description import describe
from sparse_model.layout import resolve
from sparse_model.prompts import Prompts
from sparse_model.tokens import BLOCK, document_ids


class SparseTeacher:
    """A learned sparse encoder, siamese unless its checkpoint says that its queries need no model.

    A prefix that is given stands in the place of the checkpoint's own prompt.
    """

    encodes = True

    def __init__(self, spec: TeacherSpec, device: torch.device) -> None:
        self.spec, self.device = spec, device
        says = describe(resolve(spec.located, with_code=spec.trust_remote_code))
        self.encoder = load(
            spec.located,
            inf_free=bool(says.inf_free),
            max_seq_length=spec.max_length,
            tokenizer_name=spec.tokenizer_name,
            trust_remote_code=spec.trust_remote_code,
            code_revision=spec.code_revision,
        )
        self.encoder.requires_grad_(False).to(device)
        # Put before texts here, where their role is known, and not once more there.
        self._prompts, self.encoder.prompts = self.encoder.prompts, Prompts()
        dtype = spec.dtype_on(device)
        # Weights stay float32; the masked LM alone runs in the lower precision.
        self.encoder.encoding_dtype = None if dtype == torch.float32 else dtype

    def encode(self, texts: Sequence[str], role: Role, progress: Progress = no_progress) -> csr_matrix:
        """See `BiEncoder`."""
        texts = self._behind_prompts(texts, role)
        if role == "query" and self.encoder.inf_free:
            progress(len(texts))
            return self.encoder.encode_queries(texts)
        side = self.encoder.query_side if role == "query" else self.encoder
        blocks = [texts[start : start + BLOCK] for start in range(0, len(texts), BLOCK)]
        empty = csr_matrix((0, side.vocabulary_size), dtype=np.float32)
        return vstack([empty, *side.encode_blocks(blocks, self.spec.batch_size, progress)], format="csr")

    def _behind_prompts(self, texts: Sequence[str], role: Role) -> Sequence[str]:
        return self.spec.prefixed(texts, role) if self.spec.prefixes[role] else self._prompts.before(role, texts)

    @torch.inference_mode()
    def vectors(self, texts: Sequence[str], role: Role) -> Tensor:
        """See `BiEncoder`."""
        texts, encoder = self._behind_prompts(texts, role), self.encoder
        query = role == "query"
        rows = encoder.tokenize_queries(texts) if query else encoder.tokenize_documents(texts)
        weigh = encoder.query_weights if query else encoder.document_weights
        dtype, side = encoder.encoding_dtype, encoder.query_side if query else encoder
        with torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None):
            return weigh(*(tensor.to(self.device) for tensor in side.pad(rows)))


class DenseTeacher:
    """A dense encoder; rows have length 1, so that dot products are cosines."""

    encodes = True

    def __init__(self, spec: TeacherSpec, device: torch.device) -> None:
        folder = resolve(spec.located, with_code=spec.trust_remote_code)
        layout = dense_layout(folder, spec.pooling)
        check_prompts(folder, spec.prefixes)
        self.spec, self.pooling = spec, layout.pooling
        self._runner = Runner(spec, AutoModel, layout.folder, device, unused="pooler")

    def encode(self, texts: Sequence[str], role: Role, progress: Progress = no_progress) -> np.ndarray:
        """See `BiEncoder`."""
        # One text more where there is none: it tells D.
        return self._encode(texts or [""], role, progress)[: len(texts)].cpu().numpy()

    def vectors(self, texts: Sequence[str], role: Role) -> Tensor:
        """See `BiEncoder`."""
        return self._encode(texts, role, no_progress)

    def _encode(self, texts: Sequence[str], role: Role, progress: Progress) -> Tensor:
        return self._runner.run(self.spec.prefixed(texts, role), self._tokenize, self._forward, progress)

    def _tokenize(self, texts: Sequence[str]) -> Rows:
        return {"input_ids": document_ids(self._runner.tokenizer, texts, self.spec.max_length)}

    def _forward(self, inputs: dict[str, Tensor]) -> Tensor:
        hidden_NLD = self._runner.model(**inputs)[0].float()
        return normalize(pooled(hidden_NLD, inputs["attention_mask"], self.pooling), dim=-1)


def pooled(hidden_NLD: Tensor, mask_NL: Tensor, pooling: str) -> Tensor:
    """[N, D]: the first token of each text, or the mean or maximum over its tokens."""
    if pooling == "cls":
        return hidden_NLD[:, 0]
    mask_NL1 = mask_NL.unsqueeze(-1)
    if pooling == "max":
        return hidden_NLD.masked_fill(mask_NL1 == 0, float("-inf")).amax(dim=1)
    return (hidden_NLD * mask_NL1).sum(dim=1) / mask_NL1.sum(dim=1)
