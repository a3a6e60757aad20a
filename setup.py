"""Packaging: PyPI dependencies only; lower bounds are about the versions that were tested."""

from setuptools import find_namespace_packages, setup

CORE = [
    "jax>=0.10.2,<0.11",  # the numerics
    "flax>=0.12.8,<0.13",  # the network (Linen)
    "optax>=0.2.8,<0.3",  # optimizers
    "orbax-checkpoint>=0.12.8,<0.13",  # checkpoints
    "seqio>=0.0.20,<0.1",  # tasks and mixtures
    "tensorflow>=2.21,<2.22",  # the input side of SeqIO and TFDS
    "tensorflow-datasets>=4.9.10,<4.10",  # datasets
    "gin-config>=0.5,<0.6",  # configuration
    "clu>=0.0.12,<0.1",  # metric writers
    "tensorboard>=2.20,<2.22",  # CLU's TensorBoard writer imports it
    "numpy>=2.1,<2.5",
    "absl-py>=2.1,<3",  # flags
    # 0.2.2 ships code generated for protobuf 7, which apache-beam does not take yet.
    "sentencepiece==0.2.1",
    "pyarrow>=20,<27",  # Parquet in and out; raw logs to datasets
    "scipy>=1.14,<2",  # sparse matrices of swing and M10
    "pyyaml>=6,<7",  # column maps
]
EVAL = [
    "scikit-learn>=1.4,<2",  # checks our metrics in the tests
    "bm25s>=0.2.10,<0.4",  # the lexical baseline
    "faiss-cpu>=1.9,<2",  # exact search and k-means of the baselines
    "jieba>=0.42,<0.43",  # Chinese words for BM25
]
BEAM = ["apache-beam>=2.65,<2.80"]  # data preparation on a cluster
HF = ["safetensors>=0.4,<0.9"]  # T5 weights in and out, without torch
EXTRAS = {
    "eval": EVAL,
    "beam": BEAM,
    "hf": HF,
    "test": ["pytest>=8,<10", "pytest-xdist>=3.6,<4", *EVAL, *BEAM, *HF],
    "cuda": ["jax[cuda13]>=0.10.2,<0.11"],
    "tpu": ["jax[tpu]>=0.10.2,<0.11"],
}

setup(
    name="gsid_jax",
    version="0.1.0",
    description="Generative semantic indexing (GSID) in JAX: semantic IDs from product text",
    python_requires=">=3.11",
    packages=find_namespace_packages(include=["gsid_jax*", "tasks*", "tools*", "gin_configs*"]),
    package_data={"gin_configs": ["**/*.gin"]},
    install_requires=CORE,
    extras_require=EXTRAS,
)
