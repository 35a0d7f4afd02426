"""How kernels compute: what a call of one is told besides its operands, and sums in the one order that the edge has."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax

from ..float32 import Held, hold_with

#: exact: the edge's numbers: activations of linear_q are rounded to int8, products are of f32.
#: fast: what the device is fastest at, bfloat16 operands with f32 sums; activations are not rounded to int8.
#: train: products as in fast mode, and functions that have gradients, which the edge's bits have not.
Mode = Literal["exact", "fast", "train"]

#: So many terms of a sum are one step of a loop on the device.
UNROLLED = 4


@dataclass(frozen=True)
class Call:
    """What a kernel is told besides its operands."""

    lengths: jax.Array  # i32 [B]: of row b only so many tokens count
    mode: Mode
    held: Held  # keeps a product rounded, of which a compiler would make a fused multiply-add; in training it does not
    segments: jax.Array | None  # i32 [B, T], in training: which tokens of a row are of one document

    @staticmethod
    def of(lengths: jax.Array, mode: Mode, segments: jax.Array | None) -> "Call":
        # No length is negative, which no compiler knows.
        held = _as_it_is if mode == "train" else hold_with(lengths[0] >> 31)
        return Call(lengths, mode, held, segments)

    @property
    def in_order(self) -> bool:
        """Whether sums are added in the edge's order, so that the bits are the edge's.

        Rounding to int8 makes much of a last bit, so only equal bits stay near. A GPU or TPU would be slow at that: it
        adds in an order of its own.
        """
        return self.mode == "exact" and jax.default_backend() == "cpu"

    def product(self, subscripts: str, a: jax.Array, b: jax.Array) -> jax.Array:
        """einsum with f32 sums, added in any order; a and b may be of any float type."""
        return product(subscripts, a, b, self.mode)

    def dot_in_order(self, a: jax.Array, b: jax.Array) -> jax.Array:
        """The sum over the first axis of f32 a * b, which are broadcast; from 0 in order, each product and sum rounded."""
        shape = jnp.broadcast_shapes(a.shape[1:], b.shape[1:])
        return _chain(lambda total, ab: total + self.held(ab[0] * ab[1]), shape, (a, b))


def product(subscripts: str, a: jax.Array, b: jax.Array, mode: Mode) -> jax.Array:
    """einsum with f32 sums, added in any order; a and b may be of any float type. A CPU has no fast bfloat16."""
    is_narrow = mode != "exact" and jax.default_backend() != "cpu"
    dtype = jnp.bfloat16 if is_narrow else jnp.float32
    return jnp.einsum(
        subscripts,
        a.astype(dtype),
        b.astype(dtype),
        # GPUs and TPUs would multiply f32 as TF32 or bfloat16 unless told.
        precision=lax.Precision.HIGHEST if mode == "exact" else lax.Precision.DEFAULT,
        preferred_element_type=jnp.float32,
    )


def _as_it_is(x: jax.Array) -> jax.Array:
    return x


def divide(x: jax.Array, by: jax.Array | float) -> jax.Array:
    """x / by of f32, where `by` is the same for many x: compilers multiply by 1 / by, unless they cannot tell that."""
    return x / jnp.where(jnp.isnan(x), jnp.float32(1), jnp.asarray(by, jnp.float32))


def sum_in_order(terms: jax.Array) -> jax.Array:
    """The f32 sum over the first axis, from 0 in order."""
    return _chain(lambda total, term: total + term, terms.shape[1:], terms)


def sum_of_lanes(lanes: jax.Array) -> jax.Array:
    """The f32 sum over a first axis of 4, as wasm/simd.ts adds lanes."""
    return (lanes[0] + lanes[2]) + (lanes[1] + lanes[3])


def _chain(add: Callable, shape: tuple[int, ...], terms) -> jax.Array:
    total, _ = lax.scan(lambda at, term: (add(at, term), None), jnp.zeros(shape, jnp.float32), terms, unroll=UNROLLED)
    return total
