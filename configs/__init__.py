"""Configurations: `base`, and one file an experiment."""
