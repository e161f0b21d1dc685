"""From YAML to results, in four rooms: settings ← run ← sweep; report reads what runs left."""

import sparse_model  # noqa: F401 - first: it tells OpenMP how to wait before torch is loaded
