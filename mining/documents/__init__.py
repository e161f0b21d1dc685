"""From documents as they lie on a disk to a BEIR folder: files are read (read), cut (passages) and written (folder)."""
