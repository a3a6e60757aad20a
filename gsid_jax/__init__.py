"""GSID: generative semantic indexing for product understanding, in JAX."""

from gsid_jax import quiet

quiet.set_environment()

__version__ = "0.1.0"
