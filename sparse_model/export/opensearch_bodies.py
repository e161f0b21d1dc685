"""The calls that serve a checkpoint in OpenSearch, as bodies and in words."""

from collections.abc import Mapping, Sequence
from typing import Any

DOCUMENT, QUERY = "<document model's id>", "<query tokenizer's id>"


def bodies(
    name: str, version: str, field: str, text_field: str, files: Mapping[str, Mapping[str, Any]]
) -> dict[str, dict[str, Any]]:
    """The body of each call, by the name of its file; files: bytes and sha256 of both models."""
    return {
        "register-document-model.json": _register(
            f"{name}-document", version, "SPARSE_ENCODING", files, "document-model.zip", "encodes documents"
        ),
        "register-query-tokenizer.json": _register(
            f"{name}-query", version, "SPARSE_TOKENIZE", files, "query-tokenizer.zip", "weighs the tokens of queries"
        ),
        "pipeline.json": {
            "description": f"{text_field} → {field}",
            "processors": [{"sparse_encoding": {"model_id": DOCUMENT, "field_map": {text_field: field}}}],
        },
        "index.json": {
            "settings": {"default_pipeline": "encode-documents"},
            "mappings": {
                "_source": {"excludes": [field]},
                "properties": {field: {"type": "rank_features"}, text_field: {"type": "text"}},
            },
        },
        "search.json": {"query": {"neural_sparse": {field: {"query_text": "a query", "model_id": QUERY}}}},
    }


def _register(
    name: str, version: str, function: str, files: Mapping[str, Mapping[str, Any]], file: str, does: str
) -> dict[str, Any]:
    return {
        "name": name,
        "version": version,
        "description": f"Inference-free sparse retrieval: {does}",
        "model_format": "TORCH_SCRIPT",
        "function_name": function,
        "model_content_size_in_bytes": files[file]["bytes"],
        "model_content_hash_value": files[file]["sha256"],
        "url": f"https://<where it is served>/{file}",
    }


def how_to(index: str, field: str, text_field: str, notes: Sequence[str]) -> str:
    """The calls in order."""
    said = "".join(f"- {note}\n" for note in notes)
    return f"""# Served by OpenSearch

Needs a cluster of OpenSearch 2.15 or newer with ML Commons and neural-search, and a node that may run models. Write the
cluster's address for `URL`. Put both .zip files where the cluster can fetch them (an object store, a web server, or
`file:///…` on every node), and that address into the `url` of both register-*.json.

1. Let models run, and be registered by their addresses:

   ```
   curl -XPUT URL/_cluster/settings -H 'content-type: application/json' -d '{{"persistent": {{
     "plugins.ml_commons.only_run_on_ml_node": false,
     "plugins.ml_commons.allow_registering_model_via_url": true}}}}'
   ```

2. Register and deploy the document model, then the query tokenizer. Each answers with a `task_id`; `GET
   URL/_plugins/_ml/tasks/<task_id>` has the `model_id` once its state is COMPLETED: the model is registered. Whether it
   is deployed is told by `GET URL/_plugins/_ml/models/<model_id>`; wait for the `model_state` DEPLOYED:

   ```
   for body in register-document-model.json register-query-tokenizer.json; do
     curl -XPOST 'URL/_plugins/_ml/models/_register?deploy=true' -H 'content-type: application/json' -d @$body
   done
   ```

3. Write the document model's id into pipeline.json, the query tokenizer's into search.json, then:

   ```
   curl -XPUT URL/_ingest/pipeline/encode-documents -H 'content-type: application/json' -d @pipeline.json
   curl -XPUT URL/{index} -H 'content-type: application/json' -d @index.json
   ```

4. Send documents; `{text_field}` is encoded into `{field}` on the way:

   ```
   curl -XPOST URL/{index}/_doc/1?refresh=true -H 'content-type: application/json' -d '{{"{text_field}": "a text"}}'
   ```

5. Search (an empty query_text is refused):

   ```
   curl -XPOST URL/{index}/_search -H 'content-type: application/json' -d @search.json
   ```

Where titles count, put title and text into `{text_field}` together: one field is encoded. Without a node for models,
`python -m retrieval.opensearch.serve` encodes on your machine and loads the same kind of index.

{said}"""
