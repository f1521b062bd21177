"""Decoding with libsndfile, and what makes its answer complete and honest."""
