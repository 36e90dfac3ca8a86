"""Codes for a layer's code words: one a file, each from integers to bytes and back."""
