"""Keeps TensorFlow, XLA and Beam quiet, and TensorFlow away from accelerators.

TensorFlow serves the input side only. Its C++ start-up lines ignore TF_CPP_MIN_LOG_LEVEL, so
file descriptor 2 points to the null device while it loads.
"""

import contextlib
import logging
import os
import sys


@contextlib.contextmanager
def silenced_stderr():
    """Sends file descriptor 2 to the null device, also for C++ code, while the block runs."""
    sys.stderr.flush()
    saved = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)


def set_environment() -> None:
    """Sets log levels that must be in place before TensorFlow or XLA load; keeps a user's own."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
    os.environ.setdefault("TFDS_DISABLE_PROGRESS_BAR", "1")
    os.environ.setdefault("NO_GCE_CHECK", "true")


def tensorflow():
    """Returns the TensorFlow module, loaded quietly and restricted to the CPU."""
    loaded = "tensorflow" in sys.modules
    set_environment()
    with contextlib.nullcontext() if loaded else silenced_stderr():
        import tensorflow as tf
        if not loaded:
            tf.config.set_visible_devices([], "GPU")
            tf.config.set_visible_devices([], "TPU")
            tf.get_logger().setLevel("ERROR")
    return tf


def beam():
    """Returns the Apache Beam module, loaded and running without its warnings; its errors stay.

    ImportError if it is not installed.
    """
    logging.disable(logging.WARNING)  # what is missing of the clouds' extras, said by the root logger
    try:
        import apache_beam
    finally:
        logging.disable(logging.NOTSET)
    logging.getLogger("apache_beam").setLevel(logging.ERROR)
    return apache_beam
