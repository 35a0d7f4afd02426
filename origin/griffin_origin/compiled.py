"""Where compiled programs are kept from one start to the next."""

import os
from pathlib import Path

import jax


def keep_compiled() -> None:
    """Keeps them in the user's cache folder, unless JAX_COMPILATION_CACHE_DIR names another. An origin that starts again
    then loads its programs instead of compiling them."""
    if jax.config.jax_compilation_cache_dir is None:
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        jax.config.update("jax_compilation_cache_dir", str(Path(cache) / "griffin_origin"))
