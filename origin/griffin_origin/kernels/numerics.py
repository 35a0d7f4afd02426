"""How exactly matrices are multiplied."""

from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax

#: exact: f32 products at the highest precision, activations of linear_q rounded to int8 as at the edge.
#: fast: what the device is fastest at, bfloat16 operands with f32 sums; activations are not rounded to int8.
Mode = Literal["exact", "fast"]


def operand_type(mode: Mode) -> jnp.dtype:
    """What the operands of a product are. A CPU has no fast bfloat16: there both modes multiply f32."""
    is_narrow = mode == "fast" and jax.default_backend() != "cpu"
    return jnp.dtype(jnp.bfloat16 if is_narrow else jnp.float32)


def precision(mode: Mode) -> lax.Precision:
    """GPUs and TPUs would multiply f32 as TF32 or bfloat16 unless told."""
    return lax.Precision.HIGHEST if mode == "exact" else lax.Precision.DEFAULT


def product(subscripts: str, a: jax.Array, b: jax.Array, mode: Mode) -> jax.Array:
    """einsum with f32 sums; a and b may be of any float type."""
    dtype = operand_type(mode)
    return jnp.einsum(
        subscripts,
        a.astype(dtype),
        b.astype(dtype),
        precision=precision(mode),
        preferred_element_type=jnp.float32,
    )
