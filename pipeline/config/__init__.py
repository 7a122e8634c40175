"""Strict, frozen configuration: the YAML files, what they may say, and what is wrong with them."""
