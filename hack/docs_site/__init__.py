"""Builds the documentation site: `python hack/docs_site` in its own environment (`make docs`)."""
