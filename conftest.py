"""Strict settings for every test of the repository.

The tests of a package may run far from this folder, on an installed wheel; this file and the tool
settings in `pyproject.toml` travel with them.
"""

import os
from pathlib import Path

import hypothesis
import jax

# Tests that fail show every frame, also those inside the packages. What tests say of frames that are
# hidden, they set themselves.
os.environ.setdefault("LINEN_FILTER_FRAMES", "0")

# Adding a vector to a matrix is written out, so that no test passes by an accidental broadcast.
jax.config.update("jax_numpy_rank_promotion", "raise")

# Eight devices of a CPU, so that sharding is tested anywhere.
jax.config.update("jax_num_cpu_devices", 8)

# What was compiled in an earlier session of nox is read, not compiled again. Each worker has a folder of
# its own: JAX writes there without a lock.
if cache := os.environ.get("LINEN_COMPILED"):
    folder = Path(cache, os.environ.get("PYTEST_XDIST_WORKER", "main"))
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)

# A first example may compile for seconds, so there is no deadline. The examples are the same in every
# run, so that a failure is found again.
hypothesis.settings.register_profile("linen", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("linen")
