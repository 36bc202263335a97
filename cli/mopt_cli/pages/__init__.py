"""Pages about several results, in the report's style: files that load nothing."""
