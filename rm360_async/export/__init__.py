"""Exports: published performances as other programs read them."""
