"""Benchmarks, each one command that writes JSON and Markdown."""
