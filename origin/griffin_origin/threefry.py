"""threefry2x32 on the device: the words of src/engine/threefry.ts, for a batch of keys and counters."""

import jax
import jax.numpy as jnp

PARITY = 0x1BD11BDA
ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))


def threefry2x32(key: jax.Array, counter: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The two random words u32 [B] of counters (counter, 0) under keys u32 [B, 2]; counter u32 [B]."""
    keys = (key[:, 0], key[:, 1], key[:, 0] ^ key[:, 1] ^ jnp.uint32(PARITY))
    x0, x1 = counter + keys[0], keys[1]
    for i in range(5):
        for rotation in ROTATIONS[i % 2]:
            x0 = x0 + x1
            x1 = ((x1 << rotation) | (x1 >> (32 - rotation))) ^ x0
        x0 = x0 + keys[(i + 1) % 3]
        x1 = x1 + keys[(i + 2) % 3] + jnp.uint32(i + 1)
    return x0, x1


def uniform_at(key: jax.Array, positions: jax.Array) -> jax.Array:
    """The numbers f32 [B] in [0, 1) that draw the tokens at positions; a key is the seed's high word, then its low word."""
    words, _ = threefry2x32(key, positions.astype(jnp.uint32))
    return (words >> 8).astype(jnp.float32) * jnp.float32(2.0**-24)
