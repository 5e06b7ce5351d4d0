"""Word embeddings (Mikolov et al., 2013): skip-gram and CBOW with negative sampling, and what one asks their
vectors.
"""
