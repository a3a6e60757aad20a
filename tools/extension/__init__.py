"""New steps for a finished run, its published IDs kept: prefixes, relabelling, stability."""
