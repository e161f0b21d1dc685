"""What YAML may say: keys, files, the Trainer's fields, combinations, help. Comes in: a command's words; goes out: Settings."""
