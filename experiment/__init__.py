"""From YAML to results, in four rooms: settings ← run ← sweep; report reads what runs left."""
