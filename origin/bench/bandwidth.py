"""How fast the device copies memory: the ceiling that decoding is held against."""

import time

import jax
import jax.numpy as jnp

#: More than any cache holds.
DEVICE_BYTES = 2**30
HOST_BYTES = 2**28
CALLS = 4


class Copy:
    """Reads an array and writes another; each byte counts once read and once written."""

    def __init__(self) -> None:
        size = HOST_BYTES if jax.default_backend() == "cpu" else DEVICE_BYTES
        self._source = jax.block_until_ready(jnp.arange(size // 4, dtype=jnp.int32))
        self._target = jnp.zeros_like(self._source)
        # The bits are turned over on the way, so that no compiler can do without the copy. It goes into an array that is
        # there: fresh memory costs a system more than the copy.
        self._copy = jax.jit(lambda source, target: ~source, donate_argnums=1, keep_unused=True)

    def measure(self) -> float:
        """Bytes a second."""
        began = time.perf_counter()
        for _ in range(CALLS):
            self._target = self._copy(self._source, self._target)
        jax.block_until_ready(self._target)
        return CALLS * 2 * self._source.nbytes / (time.perf_counter() - began)
