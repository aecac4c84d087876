"""Measures on a GPU machine that has no network: what travels there, how it is built, what is measured."""
