"""Tensor, Node, Graph and OpDef: the one data structure that all stages share.

Invariant: a `Graph` is a value. Nodes stand in execution order, each tensor is written by at most
one node, and every name in a node is a key of `Graph.tensors`. In-place updates of state are
nodes that read and write one state tensor; they list it in `Node.updates`.

Layout: tensors carry no batch axis. Feature maps are channels last, `x[height, width, channels]`
(a 1-D signal has height 1); convolution weights are `w[out, kernel_h, kernel_w, in]`, linear
weights `w[out, in]`.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from insitu.graph.wires import wires_of

if TYPE_CHECKING:
    from insitu.graph.builder import Builder
    from insitu.graph.rewriter import Rewriter
    from insitu.quantize.assign import Quantizer

Array = npt.NDArray[Any]

DTYPES = {"float32": 4, "int8": 1, "int16": 2, "uint16": 2, "int32": 4, "uint32": 4}
"""Element types and their bytes."""

SCRATCH_LIMIT = "scratch_limit"
"""Attribute of a node: bytes of scratch that its kernel keeps to where it has a choice; set when
memory is planned, see `plan.scratch`."""


class Kind(enum.Enum):
    """Where a tensor lives."""

    INPUT = "input"  # handed in by the caller: the sample, its label
    CONSTANT = "constant"  # flash
    STATE = "state"  # RAM, kept from step to step; initial value in flash
    ACTIVATION = "activation"  # arena, alive from the node that writes it to the last that reads it


class Role(enum.Enum):
    """What a kept tensor is to its layer, or to the whole training where it has no layer."""

    WEIGHT = "weight"
    BIAS = "bias"
    BUFFER = "buffer"  # gradients of a batch, or what is left of the step before
    RANGE = "range"  # low and high ends that a scale follows
    STATISTIC = "statistic"  # what rules remember: the largest error so far, whose turn it is
    SETTING = "setting"  # one number for all layers: learning rate, random generator


class Ends(enum.IntEnum):
    """Which part of a training step ends behind a node; the first three as insitu_info_t has them.

    Where all of the node's first result is 0 the backward pass ends. BATCH_OPEN ends the step where
    the batch that the node counts is not complete.
    """

    NEVER = 0
    SKIPPED = 1  # no weight has changed
    LEFT_OUT = 2  # the last layer alone has
    DIVERGED = 3  # behind the forward pass, whose scores are no numbers: nothing has changed
    BATCH_OPEN = 4


class Phase(enum.Enum):
    """What part of a training step a node belongs to.

    `predict` runs FORWARD alone. APPLY runs after every sample, one without an error included; its
    first node ends it where the batch is not complete.
    """

    FORWARD = "forward"
    LOSS = "loss"
    BACKWARD = "backward"
    UPDATE = "update"
    APPLY = "apply"


@dataclass(frozen=True, eq=False)
class Units:
    """A network reads x of a value offset[c] + scale[c] x; float32 by channel, or by feature."""

    scale: Array
    offset: Array


@dataclass(frozen=True)
class QParams:
    """value = scale * (q - zero_point).

    Attributes:
        scale: float32, 0-d, or one a row (axis 0) for weights and logits.
        zero_point: in [-128, 127]; 0 for weights, errors and accumulators.
        clip_min, clip_max: the activation function's own bounds in real units (ReLU: 0, inf).
        clamp_min, clamp_max: the same on the int8 grid; every stored q lies within.
        pass_min, pass_max: the error passes where pass_min <= q <= pass_max (elsewhere the
            activation function sat at its bound).
        range: name of the state tensor float32[2] = (low, high) that the scale follows, or None
            where the scale is fixed; the other fields are then the values at the start.
        units: of the input, where its channels have units of their own: the users' samples are
            then in these, and `scale` is that of what the network reads.
    """

    scale: Array
    zero_point: int = 0
    clip_min: float = -math.inf
    clip_max: float = math.inf
    clamp_min: int = -128
    clamp_max: int = 127
    pass_min: int = -128
    pass_max: int = 127
    range: str | None = None
    units: Units | None = None

    @property
    def channel_scale(self) -> Array:
        """A step of the users' samples: float32, of each channel where they have units."""
        scale = self.scale.astype("float32")
        return scale if self.units is None else scale * self.units.scale


@dataclass(frozen=True, eq=False)
class Tensor:
    """A named array.

    Attributes:
        shape: without the batch axis.
        dtype: a key of `DTYPES`.
        data: the value of a constant, the initial value of a state tensor, else None.
        qparams: for quantized tensors.
        role, layer: of what is kept from step to step, and of weights: what it is to which layer.
        units: of a float network's input, whose own first step the layers behind it have taken up:
            in these its values are what that step made of them.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    kind: Kind = Kind.ACTIVATION
    data: Array | None = None
    qparams: QParams | None = None
    role: Role | None = None
    layer: str = ""
    units: Units | None = None

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes, without padding."""
        return self.size * DTYPES[self.dtype]


@dataclass(frozen=True, eq=False)
class Node:
    """One operation.

    Attributes:
        name: unique in the graph; readable, e.g. "conv1" or "conv1.grad_input".
        layer: the user's layer this node serves ("conv1" for all of its gradients).
        inputs, outputs: tensor names; an optional input that is left out is "".
        updates: state tensors among `inputs` that the node changes in place.
    """

    name: str
    op: OpDef
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    updates: tuple[str, ...] = ()
    layer: str = ""
    phase: Phase = Phase.FORWARD

    @cached_property
    def operands(self) -> dict[str, str]:
        """Operand -> the name of its tensor, in the order of the inputs."""
        return dict(zip(self.op.names_of(len(self.inputs)), self.inputs, strict=True))

    def __getitem__(self, operand: str) -> str:
        """The name of an operand's tensor.

        Raises:
            KeyError: the op has no such operand, or the node leaves it out.
        """
        return self.operands[operand]

    def __contains__(self, operand: str) -> bool:
        return operand in self.operands


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes in execution order and the tensors they name."""

    name: str
    nodes: tuple[Node, ...]
    tensors: Mapping[str, Tensor]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    channels_last: bool = False  # users' samples lie as maps do here; else channels first
    _wires = cached_property(lambda self: wires_of(self.nodes))

    def producer(self, tensor: str) -> Node | None:
        """The node that writes `tensor`, or None for inputs, constants and state."""
        return self._wires.makers.get(tensor)

    def consumers(self, tensor: str) -> tuple[Node, ...]:
        """The nodes that read `tensor`, in order."""
        return tuple(self._wires.readers.get(tensor, ()))

    def of_kind(self, kind: Kind) -> tuple[Tensor, ...]:
        """All tensors of a kind, in order of appearance."""
        return tuple(tensor for tensor in self.tensors.values() if tensor.kind is kind)

    @property
    def sample(self) -> Tensor:
        """The input that a prediction takes; a training step takes a label as well."""
        return self.tensors[self.inputs[0]]

    @property
    def scores(self) -> Tensor:
        """The output that a prediction gives."""
        return self.tensors[self.outputs[0]]

    def operand(self, node: Node, name: str) -> Tensor:
        """The tensor that a node reads as its operand of that name."""
        return self.tensors[node[name]]

    def inputs_of(self, node: Node) -> tuple[Tensor, ...]:
        """The tensors a node reads, optional ones left out."""
        return tuple(self.tensors[name] for name in node.inputs if name)

    def with_nodes(self, nodes: Sequence[Node]) -> Graph:
        """The same graph with other nodes."""
        return replace(self, nodes=tuple(nodes))


@dataclass(frozen=True)
class TensorType:
    """Shape and dtype: what a shape rule returns for each output."""

    shape: tuple[int, ...]
    dtype: str = "float32"


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor at run time, as the integer references see it.

    Attributes:
        array: without batch axis, in the tensor's own dtype.
        qparams: in force during this step (a dynamic range is resolved when the step starts).
    """

    array: Array
    qparams: QParams | None = None


@dataclass(frozen=True)
class Bound:
    """A claim |value| <= limit that is checked for the network at hand, at compile time."""

    what: str
    largest: int
    limit: int = 2**31 - 1


@dataclass(frozen=True)
class CCall:
    """How a node is called from the generated C.

    Attributes:
        function: the kernel, e.g. "insitu_conv_s8".
        params_type: name of the kernel's parameter struct, or "" where it takes none.
        params: its fields, every one, in order of declaration; a mapping for a nested struct.
        arguments: C expressions after the parameter struct, see `generate.c_text`: a tensor is
            named "$tensor", its quantization "?tensor" (pointer), the node's scratch "!scratch";
            a tuple is an array of them, or of int32_t.
        counts_saturated: the kernel returns int32_t, rows whose step was too large; it is added to
            the step's info. What other results mean is said by `OpDef.ends`.
    """

    function: str
    params_type: str
    params: Mapping[str, Any]
    arguments: tuple[str | tuple[str, ...], ...]
    counts_saturated: bool = False

    @property
    def mentioned(self) -> tuple[str, ...]:
        """The arguments, those in arrays included."""
        lists = (a if isinstance(a, tuple) else (a,) for a in self.arguments)
        return tuple(argument for arguments in lists for argument in arguments)


Call = Callable[["Node", "Graph"], CCall]
"""How the generated C calls a node of an op."""

FloatReference = Callable[[Mapping[str, Any], Sequence[Array]], Sequence[Array]]
"""(attributes, inputs) -> outputs; float64 or float32; activations with a leading batch axis."""

IntegerReference = Callable[[Node, Sequence[Value], Sequence[QParams | None]], Sequence[Array]]
"""(node, inputs, output qparams) -> outputs, then the new value of each of `node.updates`."""


def _nothing(*_: Any) -> int:
    return 0


def _mixes_channels(_: Mapping[str, Any]) -> bool:
    return False


def _no_bounds(*_: Any) -> tuple[Bound, ...]:
    return ()


@dataclass(frozen=True, eq=False)
class OpDef:
    """An operation as a record of facts; the stages hold the algorithms.

    Attributes:
        operands: names of the inputs in their order; nodes may leave out the last ones. A last
            name "x..." stands for any number of them, x0, x1 and so on.
        infer: shape rule: (attributes, input tensors) -> a TensorType for each output; raises
            ModelError without the node's name, which the builder puts in front.
        float_reference: the definition in real numbers.
        integer_reference: the definition in integers, bit for bit what the C does; None for ops
            that the quantize stage replaces by others.
        vjp: gradient rule: (builder, node, dy, wanted) -> {operand: name of dx}; emits nodes.
            `wanted` are the operands whose gradient is needed; a trained weight among them gets
            its update node emitted and is left out of the answer. None: no gradient.
        quantize: float node -> integer nodes: (quantizer, node) -> None; see `quantize.assign`.
        window: of a layer: (node, graph) -> kernel (of the weights), size (of the map x), and what
            else of its window the node does not say.
        simplify: (rewriter, node) -> True where it changed the graph; see `simplify`.
        absorb: what a producer can take into itself: {"affine": f, "clip": f, "permute": f}; a
            layer also what stands before it: {"padding": f, "units": f}.
        keeps_channels: attributes -> whether y of a channel is a mean, or the largest, of x of it.
        scales: y of a channel is k times as large where it is so in all inputs, bounds aside.
        columns: of a layer: (attributes, x[n, ...], shape of w) -> what its rows multiply,
            [positions, groups, weights in a row].
        c_call: how the generated C calls it; None for ops that never reach C.
        scratch_bytes: (node, graph) -> bytes of arena alive during the node alone.
        in_place: pairs (output index, input index) that may share memory.
        macs: (node, graph) -> nominal multiply-accumulates.
        bounds: (node, graph) -> claims to check at compile time.
        weights: operands that are trainable; an op with any is a layer.
        fresh: float node as the last layer -> (node, graph, classes) -> {operand: its value}
            for a start without knowledge of so many classes; None: it cannot be replaced.
        ends: what may end behind a node of it.
        silences: puts errors to 0 however large they are, as those of rows that do not learn.
    """

    name: str
    infer: Callable[[Mapping[str, Any], Sequence[Tensor]], Sequence[TensorType]]
    operands: tuple[str, ...] = ("x",)
    float_reference: FloatReference | None = None
    integer_reference: IntegerReference | None = None
    vjp: Callable[[Builder, Node, str, frozenset[str]], dict[str, str]] | None = None
    quantize: Callable[[Quantizer, Node], None] | None = None
    window: Callable[[Node, Graph], Mapping[str, Any]] | None = None
    simplify: Callable[[Rewriter, Node], bool] | None = None
    absorb: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    keeps_channels: Callable[[Mapping[str, Any]], bool] = _mixes_channels
    scales: bool = False
    columns: Callable[[Mapping[str, Any], Array, tuple[int, ...]], Array] | None = None
    c_call: Call | None = None
    scratch_bytes: Callable[[Node, Graph], int] = _nothing
    in_place: tuple[tuple[int, int], ...] = ()
    macs: Callable[[Node, Graph], int] = _nothing
    bounds: Callable[[Node, Graph], Sequence[Bound]] = _no_bounds
    weights: tuple[str, ...] = ()
    fresh: Callable[[Node, Graph, int], dict[str, Array]] | None = None
    ends: Ends = Ends.NEVER
    silences: bool = False

    def names_of(self, count: int) -> tuple[str, ...]:
        """The operands that so many inputs are."""
        *first, last = self.operands
        if not last.endswith("..."):
            return self.operands[:count]
        stem = last.removesuffix("...")
        return (*first, *(f"{stem}{index}" for index in range(count - len(first))))

    def __repr__(self) -> str:
        return f"OpDef({self.name})"
