"""Benchmarks, each one command with a table and JSON."""
