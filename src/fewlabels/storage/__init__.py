"""Files that are whole or absent: atomic writes, JSON, the cache folder, and the errors a person can act on."""
