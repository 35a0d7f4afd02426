"""Graph: graph.onnx as calls of our functions (src/model/graph.ts). The bodies of the functions are not looked at: the
name says which kernel runs. What is no call of a known function is refused, naming the node.

A pass computes only what it must for the logits of each row's last token: behind the last function that looks at other
tokens everything is computed for that token alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax
import onnx
from onnx import TensorProto

from .errors import GriffinError

DOMAIN = "griffin"
DOMAIN_VERSION = 1
WEIGHTS_FILE = "weights.safetensors"
STATE_SUFFIX = ".out"

#: function -> (inputs, those of them that may be absent at the end, outputs, attributes), as in src/model/functions.ts
SIGNATURES: Mapping[str, tuple[int, int, int, frozenset[str]]] = {
    "embed": (2, 0, 1, frozenset({"scale"})),
    "embed_q": (3, 0, 1, frozenset({"scale"})),
    "rms_norm": (2, 0, 1, frozenset({"epsilon"})),
    "linear": (3, 1, 1, frozenset()),
    "linear_q": (4, 1, 1, frozenset()),
    "gelu_mul": (2, 0, 1, frozenset()),
    "silu_mul": (2, 0, 1, frozenset()),
    "causal_conv1d": (4, 0, 2, frozenset()),
    "block_diagonal": (3, 0, 1, frozenset()),
    "rg_lru": (6, 0, 2, frozenset()),
    "local_attention": (6, 0, 3, frozenset({"head_dim", "rotary_dim", "rope_theta", "kv_dtype"})),
    "soft_cap": (1, 0, 1, frozenset({"cap"})),
    "Add": (2, 0, 1, frozenset()),
}
#: Functions whose output for a token depends on other tokens, through a state.
STATEFUL = frozenset({"causal_conv1d", "rg_lru", "local_attention"})


@dataclass(frozen=True)
class Node:
    """One call of a function."""

    name: str
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, float]


@dataclass(frozen=True)
class StoredTensor:
    """Where a weight lies in weights.safetensors, and as what (an ONNX element type)."""

    element_type: int
    shape: tuple[int, ...]
    offset_bytes: int
    length_bytes: int


@dataclass(frozen=True)
class Graph:
    """Nodes are in execution order; states are the graph's state inputs by name, in the order of the state layout."""

    nodes: tuple[Node, ...]
    states: Mapping[str, tuple[int, ...]]
    initializers: Mapping[str, StoredTensor]
    #: Names of the nodes that are computed for the last token alone.
    last_only: frozenset[str]


#: (node, its inputs) -> its outputs
Kernels = Callable[[Node, list[jax.Array]], tuple[jax.Array, ...]]


def read_graph(data: bytes) -> Graph:
    """The calls, states and weights of a model. Raises `invalid_graph` or `unsupported`."""
    try:
        model = onnx.ModelProto.FromString(data)
    except Exception as cause:  # protobuf's own class differs by implementation
        raise GriffinError("invalid_graph", f"graph.onnx is no ONNX model: {cause}") from cause
    versions = {entry.domain: entry.version for entry in model.opset_import}
    if versions.get(DOMAIN) != DOMAIN_VERSION:
        got = versions.get(DOMAIN)
        raise GriffinError("unsupported", f'The graph must import version {DOMAIN_VERSION} of "{DOMAIN}", got {got}.')

    graph = model.graph
    states = {
        value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in graph.input
        if value.name not in ("tokens", "pos")
    }
    initializers = {tensor.name: _read_tensor(tensor) for tensor in graph.initializer}
    nodes = tuple(_read_node(node) for node in graph.node)
    defined = {"tokens", "pos", *states, *initializers}
    for node in nodes:
        for name in node.inputs:
            if name not in defined:
                raise GriffinError("invalid_graph", f'{node.name}: input "{name}" is not computed before it is used.')
        defined.update(node.outputs)
    for name in ("logits", *(state + STATE_SUFFIX for state in states)):
        if name not in defined:
            raise GriffinError("invalid_graph", f'The graph does not compute "{name}".')
    return Graph(nodes, states, initializers, _last_only(nodes))


def run_graph(
    graph: Graph, values: dict[str, jax.Array], run: Kernels, last: Callable[[jax.Array], jax.Array] | None
) -> dict[str, jax.Array]:
    """Computes all nodes. `values` are weights, states, tokens [B, T] and pos [B, T]; all values are returned.

    `last` takes each row's last token out of an array [B, T, ...], as [B, 1, ...]; without it all tokens have logits.
    """
    values = dict(values)
    taken: dict[str, jax.Array] = {}
    computed_last: set[str] = set()

    def operand(name: str, is_last: bool) -> jax.Array:
        is_by_token = name not in graph.initializers
        if not is_last or not is_by_token or name in computed_last:
            return values[name]
        if name not in taken:
            taken[name] = last(values[name]) if last is not None else values[name]
        return taken[name]

    for node in graph.nodes:
        is_last = last is not None and node.name in graph.last_only
        outputs = run(node, [operand(name, is_last) for name in node.inputs])
        values.update(zip(node.outputs, outputs, strict=True))
        if is_last:
            computed_last.update(node.outputs)
    return values


def _last_only(nodes: tuple[Node, ...]) -> frozenset[str]:
    """Nodes that see each token alone, and whose outputs only such nodes and the logits use."""
    needed_for_all: set[str] = set()
    late: set[str] = set()
    for node in reversed(nodes):
        if node.operator in STATEFUL or any(name in needed_for_all for name in node.outputs):
            needed_for_all.update(node.inputs)
        else:
            late.add(node.name)
    return frozenset(late)


def _read_node(proto: onnx.NodeProto) -> Node:
    where = f'Node "{proto.name}" ({proto.op_type})'
    signature = SIGNATURES.get(proto.op_type)
    domain = "" if proto.op_type == "Add" else DOMAIN
    if signature is None or proto.domain != domain:
        raise GriffinError("unsupported", f'{where}: domain "{proto.domain}" has no such function here.')
    inputs = list(proto.input)
    while inputs and inputs[-1] == "":
        inputs.pop()
    most, optional, outputs, names = signature
    if not most - optional <= len(inputs) <= most or len(proto.output) != outputs:
        got = f"{len(inputs)} inputs and {len(proto.output)} outputs"
        raise GriffinError("invalid_graph", f"{where}: takes {most} inputs and {outputs} outputs, got {got}.")
    attributes = {each.name: onnx.helper.get_attribute_value(each) for each in proto.attribute}
    if set(attributes) != names:
        raise GriffinError("invalid_graph", f"{where}: has attributes {sorted(names)}, got {sorted(attributes)}.")
    return Node(proto.name, proto.op_type, tuple(inputs), tuple(proto.output), attributes)


def _read_tensor(proto: TensorProto) -> StoredTensor:
    external = {entry.key: entry.value for entry in proto.external_data}
    if proto.data_location != TensorProto.EXTERNAL or external.get("location") != WEIGHTS_FILE:
        raise GriffinError("unsupported", f'Weight "{proto.name}" must lie in {WEIGHTS_FILE}.')
    offset, length = int(external.get("offset", -1)), int(external.get("length", -1))
    return StoredTensor(proto.data_type, tuple(proto.dims), offset, length)
