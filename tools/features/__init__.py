"""Semantic IDs as features of click models: prefix vocabulary, interest units, tables."""
