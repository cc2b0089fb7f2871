"""Does the training step hold what it needs, in the right order, and nothing else?"""

from __future__ import annotations

import numpy as np
import pytest
from case_layers import FLATTEN, FRONT, HEAD, RELU, Case, Layer, conv, linear, max_pool
from case_models import INPUT, Compiled, float_graph, trainable
from cases import CASES

from insitu.differentiate import differentiate
from insitu.errors import ModelError
from insitu.graph.builder import Builder
from insitu.graph.model import Graph, Kind, Phase
from insitu.graph.verify import verify
from insitu.ops import OPS
from insitu.prepare.simplify import simplify


def nodes_by_layer(graph: Graph, *phases: Phase) -> dict[str, list[str]]:
    """{layer: [op names]} of some phases."""
    found: dict[str, list[str]] = {}
    for node in graph.nodes:
        if node.phase in phases:
            found.setdefault(node.layer, []).append(node.op.name)
    return found


def test_the_last_layer_alone_has_no_input_gradient() -> None:
    step = Compiled(CASES["last-1"]).step
    assert nodes_by_layer(step, Phase.BACKWARD) == {}
    assert nodes_by_layer(step, Phase.UPDATE) == {"linear9": ["linear_update"]}


def test_layers_in_front_of_the_first_trained_one_have_no_backward() -> None:
    step = Compiled(CASES["last-2"]).step
    assert set(nodes_by_layer(step, Phase.BACKWARD)) == {"linear7", "linear9"}
    assert nodes_by_layer(step, Phase.BACKWARD)["linear7"] == ["clip_grad"]
    assert set(nodes_by_layer(step, Phase.UPDATE)) == {"linear7", "linear9"}


def test_frozen_layers_behind_a_trained_one_hand_the_error_on_and_keep_their_weights() -> None:
    step = Compiled(CASES["first-only"]).step
    backward = nodes_by_layer(step, Phase.BACKWARD)
    assert "linear_grad_input" in backward["linear9"]
    assert "conv_grad_input" in backward["conv3"]
    assert "conv_grad_input" not in backward["conv1"]
    assert set(nodes_by_layer(step, Phase.UPDATE)) == {"conv1"}
    weights = {t.name for t in step.of_kind(Kind.STATE) if t.name.endswith(".w")}
    assert weights == {"conv1.w"}


@pytest.mark.parametrize("case", CASES)
def test_every_state_tensor_of_a_trained_layer_is_updated_once(case: str) -> None:
    step = Compiled(CASES[case]).step
    updated = [name for node in step.nodes for name in node.updates if name != "generator"]
    state = {t.name for t in step.of_kind(Kind.STATE)} - {"generator", "learning_rate"}
    assert sorted(updated) == sorted(state)


@pytest.mark.parametrize("case", CASES)
def test_an_input_gradient_reads_the_weights_before_their_update(case: str) -> None:
    step = Compiled(CASES[case]).step
    done: set[str] = set()
    for node in step.nodes:
        if node.op.name.endswith("_grad_input"):
            assert node.inputs[1] not in done, node.name
        done.update(node.updates)


@pytest.mark.parametrize("case", CASES)
def test_a_prediction_is_the_beginning_of_a_step(case: str) -> None:
    step = Compiled(CASES[case]).step
    phases = [node.phase is Phase.FORWARD for node in step.nodes]
    assert phases == sorted(phases, reverse=True)
    forward = [node for node in step.nodes if node.phase is Phase.FORWARD]
    assert not any(node.updates for node in forward)
    assert step.outputs[0] in forward[-1].outputs or forward[-1].op.name == "row_parameters"


@pytest.mark.parametrize("case", CASES)
def test_every_node_is_needed_and_none_reads_what_comes_later(case: str) -> None:
    step = Compiled(CASES[case]).step
    verify(step)
    read = set(step.outputs).union(*(node.inputs for node in step.nodes))
    for node in step.nodes:
        assert node.updates or any(name in read for name in node.outputs), node.name


def test_the_loss_is_the_second_output() -> None:
    step = Compiled(CASES["linear"]).step
    scores, loss = (step.tensors[name] for name in step.outputs)
    assert (scores.shape, scores.dtype) == ((3,), "float32")
    assert (loss.shape, loss.dtype) == ((1,), "float32")
    assert step.inputs == ("x", "label")


def test_a_float_graph_is_differentiated_by_the_same_rules() -> None:
    graph = trainable(simplify(float_graph(CASES["zoo-frozen"])), "conv3")
    step = differentiate(graph)
    assert set(nodes_by_layer(step, Phase.UPDATE)) == {"conv3"}
    assert step.tensors[step.nodes[-1].updates[0]].kind is Kind.STATE


def test_an_op_without_gradient_on_the_way_is_named() -> None:
    case = Case((4,), (linear(3), Layer("softmax", name="middle"), linear(2)))
    graph = trainable(simplify(float_graph(case)))
    with pytest.raises(ModelError, match='softmax "middle" has no gradient'):
        differentiate(graph)


def test_an_op_without_gradient_in_front_of_all_trained_layers_is_no_matter() -> None:
    case = Case((4,), (linear(3), Layer("softmax"), linear(2, name="head")))
    step = differentiate(trainable(simplify(float_graph(case)), "head"))
    assert nodes_by_layer(step, Phase.BACKWARD) == {}


def test_a_branch_behind_a_trained_layer_is_named() -> None:
    builder = Builder("branch")
    x = builder.input(INPUT, (2,))
    w = builder.constant("w", np.eye(2, dtype=np.float32), kind=Kind.STATE)
    b = builder.constant("b", np.zeros(2, np.float32), kind=Kind.STATE)
    (y,) = builder.node(OPS["linear"], (x, w, b), name="fc")
    (left,) = builder.node(OPS["clip"], (y,), name="left", attributes={"min": 0.0, "max": 1.0})
    v = builder.constant("v", np.eye(2, dtype=np.float32))
    (z,) = builder.node(OPS["linear"], (left, v, y), name="both")
    graph = builder.finish((z,))
    step = differentiate(graph)  # the bias of "both" is no path of an error
    verify(step)


def test_a_sum_that_could_overflow_is_refused_with_both_numbers() -> None:
    case = Case((40_000,), (linear(2), RELU, linear(2)))
    with pytest.raises(ModelError, match=r"could reach \d+, beyond 2147483647"):
        verify(Compiled(case).step)


def test_the_error_of_many_rows_drops_bits_instead_of_overflowing() -> None:
    case = Case((3,), (linear(2000), RELU, linear(3000, name="wide"), RELU, linear(2)))
    step = Compiled(case).step
    node = next(n for n in step.nodes if n.name == "wide.grad_input")
    assert node.attributes["drop"] > 0
    bounds = node.op.bounds(node, step)
    assert all(bound.largest <= bound.limit for bound in bounds)


@pytest.mark.parametrize("layers", [(FLATTEN,), (max_pool(), FLATTEN), (conv(2), FLATTEN)])
def test_scores_without_a_linear_layer_train_what_is_in_front(layers: tuple[Layer, ...]) -> None:
    step = Compiled(Case((4, 4, 1), (FRONT, RELU, *layers))).step
    assert nodes_by_layer(step, Phase.UPDATE)["conv1"] == ["follow_range", "conv_update"]


def test_nothing_of_the_forward_graph_is_lost() -> None:
    compiled = Compiled(Case((6, 6, 2), (FRONT, RELU, max_pool(), *HEAD)))
    forward = [n.name for n in compiled.forward.nodes if n.phase is Phase.FORWARD]
    assert [n.name for n in compiled.step.nodes if n.phase is Phase.FORWARD] == forward
