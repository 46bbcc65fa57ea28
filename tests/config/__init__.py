"""Where options come from, compared with luigi's own reading of its files."""
