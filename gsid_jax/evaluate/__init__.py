"""Evaluation of semantic IDs and representations (paper 3, 4 and appendix A)."""
