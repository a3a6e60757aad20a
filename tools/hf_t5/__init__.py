"""Hugging Face T5 folders: read, written and checked without importing torch or transformers."""
