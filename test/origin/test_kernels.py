"""Every kernel against the body of its function in graph.onnx, run by ONNX's reference evaluator row by row: the body has
no rows, and reads just the tokens that count. The bodies themselves are checked against float64 loops by test/model.
"""

from functools import lru_cache

import jax
import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from griffin_origin import kernels
from griffin_origin.graph import DOMAIN, STATEFUL, Node
from griffin_origin.kernels.blocks import round_to_int8, unpack
from griffin_origin.kernels.rotary import rotation

F32, I32 = TensorProto.FLOAT, TensorProto.INT32
#: Tokens that three rows read, in a pass of one token and in one of more than the window has slots.
LENGTHS = {1: [1, 0, 1], 24: [24, 2, 17]}
#: Where the rows begin: at the start, in the first window, and far away.
STARTS = np.array([0, 4, 100_003], np.int32)
WINDOW = 7


@lru_cache
def bodies(edge_folder) -> dict[str, onnx.FunctionProto]:
    functions = {}
    for name in ("pocket-int8", "pocket-f32", "silu_uncapped_unscaled-f32"):
        model = onnx.load(edge_folder / name / "graph.onnx", load_external_data=False)
        functions |= {function.name: function for function in model.functions}
    return functions


def evaluate(function: onnx.FunctionProto, inputs: list[np.ndarray], attributes: dict) -> list[np.ndarray]:
    """What the body of a function computes."""
    names = list(function.input)[: len(inputs)]
    node = helper.make_node(function.name, names, list(function.output), domain=DOMAIN, **attributes)
    types = [helper.np_dtype_to_tensor_dtype(each.dtype) for each in inputs]
    graph = helper.make_graph(
        [node],
        "call",
        [helper.make_tensor_value_info(n, t, each.shape) for n, t, each in zip(names, types, inputs, strict=True)],
        [helper.make_tensor_value_info(name, F32, None) for name in function.output],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(DOMAIN, 1)]
    model = helper.make_model(graph, functions=[function], opset_imports=opsets, ir_version=10)
    return ReferenceEvaluator(model).run(None, dict(zip(names, inputs, strict=True)))


def call(
    operator: str, inputs: list[np.ndarray], lengths: np.ndarray, attributes: dict, mode: kernels.Mode = "exact"
) -> list[np.ndarray]:
    """What our kernel computes, for all rows at once, in a compiled program."""
    node = Node(operator, operator, (), (), attributes)
    program = jax.jit(lambda inputs, lengths: kernels.run(node, inputs, lengths, mode))
    return [np.asarray(each) for each in program(inputs, lengths)]


def case(operator: str, tokens: int, random: np.random.Generator):
    """The inputs of a call: those with a leading axis of rows, by index, and the rest; and its attributes."""

    def rows(*shape):
        return random.normal(0, 1.5, (3, *shape)).astype(np.float32)

    def weights(*shape):
        return random.normal(0, 0.3, shape).astype(np.float32)

    pos = STARTS[:, None] + np.arange(tokens, dtype=np.int32)
    ids = random.integers(0, 11, (3, tokens)).astype(np.int32)
    if operator == "embed":
        return [ids, weights(11, 20)], 1, {"scale": 7.25}
    if operator == "embed_q":
        table = random.integers(-63, 64, (11, 45)).astype(np.int8)
        return [ids, table, np.abs(weights(11, 2))], 1, {"scale": 7.25}
    if operator == "rms_norm":
        return [rows(tokens, 33), weights(33)], 1, {"epsilon": 1e-6}
    if operator == "linear":
        return [rows(tokens, 45), weights(13, 45), weights(13)], 1, {}
    if operator == "linear_q":
        weight = random.integers(-63, 64, (13, 77)).astype(np.int8)
        return [rows(tokens, 77), weight, np.abs(weights(13, 3)) / 20, weights(13)], 1, {}
    if operator == "silu_mul":
        return [3 * rows(tokens, 19), rows(tokens, 19)], 2, {}
    if operator == "soft_cap":
        return [40 * rows(tokens, 19)], 1, {"cap": 30.0}
    if operator == "block_diagonal":
        return [rows(tokens, 36), weights(3, 12, 12), weights(3, 12)], 1, {}
    if operator == "causal_conv1d":
        return [rows(tokens, 10), weights(4, 10), weights(10), rows(3, 10)], {0, 3}, {}
    if operator == "rg_lru":
        a_param = random.uniform(-9, 1, 30).astype(np.float32)
        return [*(rows(tokens, 30) for _ in range(3)), a_param, pos, rows(30)], {0, 1, 2, 4, 5}, {}
    attributes = {"head_dim": 12, "rotary_dim": 6, "rope_theta": 10_000.0, "kv_dtype": F32}
    rings = [rows(WINDOW, 24) for _ in range(2)]
    for ring in rings:
        for row, start in enumerate(STARTS):
            ring[row, start:] = 0
    return [rows(tokens, 48), rows(tokens, 24), rows(tokens, 24), pos, *rings], {0, 1, 2, 3, 4, 5}, attributes


OPERATORS = (
    "embed", "embed_q", "rms_norm", "linear", "linear_q", "silu_mul", "soft_cap", "block_diagonal",
    "causal_conv1d", "rg_lru", "local_attention",
)  # fmt: skip


@pytest.mark.parametrize("tokens", LENGTHS)
@pytest.mark.parametrize("operator", OPERATORS)
def test_computes_what_the_body_of_its_function_says(operator, tokens, edge_folder):
    inputs, by_row, attributes = case(operator, tokens, np.random.default_rng(tokens))
    by_row = set(range(by_row)) if isinstance(by_row, int) else by_row
    check(operator, inputs, by_row, attributes, np.array(LENGTHS[tokens], np.int32), bodies(edge_folder)[operator])


@pytest.mark.parametrize("operator", ["local_attention", "rg_lru"])
def test_the_ways_of_accelerators_compute_the_same(operator, edge_folder):
    """They add in any order: rg_lru by an associative scan, attention to the ring and to new tokens apart."""
    inputs, by_row, attributes = case(operator, 24, np.random.default_rng(5))
    check(operator, inputs, by_row, attributes, np.array(LENGTHS[24], np.int32), bodies(edge_folder)[operator], "fast")


def test_local_attention_keeps_a_window_in_bfloat16(edge_folder):
    inputs, by_row, attributes = case("local_attention", 5, np.random.default_rng(3))
    inputs[4:] = [ring.astype(ml_dtypes.bfloat16) for ring in inputs[4:]]
    attributes["kv_dtype"] = TensorProto.BFLOAT16
    body = bodies(edge_folder)["local_attention"]
    check("local_attention", inputs, by_row, attributes, np.array([5, 0, 3], np.int32), body, ring_tolerance=0.02)


def check(operator, inputs, by_row, attributes, lengths, body, mode="exact", ring_tolerance: float = 2e-5) -> None:
    outputs = call(operator, inputs, lengths, attributes, mode)
    is_stateful = operator in STATEFUL
    states = inputs[-(len(outputs) - 1) :] if is_stateful else []
    tokens = {i for i, each in enumerate(inputs) if i in by_row and not any(each is state for state in states)}
    for row, length in enumerate(lengths):
        for state, new_state in zip(states, outputs[1:], strict=True):
            if length == 0:
                assert new_state[row].tobytes() == state[row].tobytes()
        if length == 0:
            continue
        one = [
            (each[row, :length] if i in tokens else each[row]) if i in by_row else each for i, each in enumerate(inputs)
        ]
        expected = evaluate(body, [np.float32(e) if e.dtype == ml_dtypes.bfloat16 else e for e in one], attributes)
        np.testing.assert_allclose(outputs[0][row, :length], expected[0], rtol=2e-5, atol=2e-5)
        for got, want in zip(outputs[1:], expected[1:], strict=True):
            np.testing.assert_allclose(np.float32(got[row]), want, rtol=ring_tolerance, atol=2e-5)


def test_gelu_mul_is_the_tanh_approximation_which_the_evaluator_lacks():
    gate, x = np.random.default_rng(1).normal(0, 3, (2, 3, 5, 19)).astype(np.float32)
    g = gate.astype(np.float64)
    expected = 0.5 * g * (1 + np.tanh(np.sqrt(2 / np.pi) * (g + 0.044715 * g**3))) * x
    (y,) = call("gelu_mul", [gate, x], np.array([5, 0, 3]), {})
    np.testing.assert_allclose(y, expected, rtol=2e-5, atol=1e-5)


def test_a_block_of_zeros_is_rounded_to_zeros_and_ties_to_even():
    x = np.zeros((2, 40), np.float32)
    x[1, :4] = [127, 0.5, 1.5, -2.5]
    rounded, scale = map(np.asarray, round_to_int8(x, lambda product: product))
    assert not rounded[0].any()
    assert rounded[1, 0, :4].tolist() == [127, 0, 2, -2]
    assert scale.tolist() == [[0, 0], [1, 0]]


def test_int4_lies_two_a_byte_the_first_in_the_low_nibble():
    assert unpack(np.array([[0x87, 0xF0, 0x1E]], np.uint8)).tolist() == [[7, -8, 0, -1, -2, 1]]


@pytest.mark.parametrize("start", [0, 1_000, 100_000, 10_000_000, 2**31 - 300])
def test_angles_are_exact_at_any_position(start):
    pos = start + np.arange(257, dtype=np.int64)
    cos, sin = jax.jit(rotation, static_argnums=(1, 2))(pos[None].astype(np.int32), 128, 10_000.0)
    angle = pos[:, None] * 10_000.0 ** (-np.arange(64) / 64)
    assert np.abs(np.asarray(cos[0]) - np.cos(angle)).max() < 1e-6
    assert np.abs(np.asarray(sin[0]) - np.sin(angle)).max() < 1e-6


def test_the_decay_is_rounded_as_the_reference_rounds_it():
    """Where a is near 1, sqrt(1 - a^2) magnifies a last bit of a^2: it has to be the f32 nearest to it, nearly always."""
    a_param = np.linspace(-12, 0, 4001).astype(np.float32)
    gates = np.zeros((1, 1, 4001), np.float32)
    inputs = [gates + 2, gates, gates, a_param, np.array([[5]], np.int32), np.zeros((1, 4001), np.float32)]
    y, _ = call("rg_lru", inputs, np.array([1], np.int32), {})
    log_a = -4 * np.log1p(np.exp(a_param.astype(np.float64)))
    root = np.sqrt(np.float32(1) - np.exp(2 * log_a).astype(np.float32))
    differs = np.abs(y[0, 0] / root - 1) > 3e-7
    assert differs.mean() < 0.05
