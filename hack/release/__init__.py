"""Builds what a release consists of: `make dist`. docs/releasing.md has the whole way."""
