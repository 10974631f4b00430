"""Cuts a network where its frozen front ends, so that what can't change is computed once for many finetunes."""

import copy
import linecache
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from scalepred.networks import depthwise

TOLERANCE = 1e-3
"""Logits of the parts may differ from those of the whole by so much of their largest, for they round differently."""


@dataclass(frozen=True, kw_only=True)
class Cut:
    """How to run a network in two parts: a frozen front, and the rest, which alone is trained.

    The parts share the modules of the network that they are made of, so training the rest trains the network.

    Attributes:
        front: the graph from images to the tensor at the cut; None where nothing is frozen, or it can't be cut.
        rest: the graph from there, or from images, to the logits; None if the network can't be traced.
        whole: the graph from images to the logits, or None.
    """

    front: fx.Graph | None = None
    rest: fx.Graph | None = None
    whole: fx.Graph | None = None

    def uncut(self) -> "Cut":
        """Return how to run the same network from images to logits, for when the front's outputs aren't kept."""
        return Cut(rest=self.whole, whole=self.whole)

    def front_of(self, network: nn.Module) -> nn.Module | None:
        """Return the frozen front of a network, in evaluation mode."""
        return None if self.front is None else _module(network, self.front).eval()

    def rest_of(self, network: nn.Module) -> nn.Module:
        """Return what is to be run on the front's outputs, or on images if there is no front."""
        if self.rest is None:
            return network
        rest = _module(network, self.rest)
        for name, module in list(rest.named_modules()):
            if depthwise.takes(module):
                rest.set_submodule(name, depthwise.SmallMapConv(module))
        return rest


WHOLE = Cut()


def cut(network: nn.Module, is_frozen: Callable[[str], bool], *, sample: Tensor) -> Cut:
    """Find where a network's frozen front ends.

    Args:
        network: as it is trained, with the modes that its modules have in training; it is not changed.
        is_frozen: says of a parameter's name whether it is.
        sample: (n, 3, h, w) float32, normalised images that both ways of running are compared on.

    Returns a cut whose parts do what the whole does, in training and in evaluation; a network that can't be traced or
    that does something else in parts is left whole.
    """
    try:
        graph = _Tracer().trace(network)
    except Exception:  # tracing runs the network's code on stand-ins, which fails in many ways
        return WHOLE
    front, rest = _parts(network, graph, is_frozen)
    for candidate in (Cut(front=front, rest=rest, whole=graph), Cut(rest=graph, whole=graph)):
        if _agrees(network, candidate, sample):
            return candidate
    return WHOLE


def _module(network: nn.Module, graph: fx.Graph) -> fx.GraphModule:
    """Return a graph's module on a network's modules, of which nothing stays when it goes.

    Torch would keep its source for ever, and the graph the network that it was last used for.
    """
    module = fx.GraphModule(network, graph)
    graph.owning_module = None
    name = type(module).forward.__code__.co_filename
    for cache in (fx.graph_module._loader.eval_cache, linecache.cache):
        weakref.finalize(module, cache.pop, name, None)
    return module


class _Tracer(fx.Tracer):
    """Looks into containers only: what holds parameters itself, or none at all, stays a module."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        has_parameters = next(m.parameters(recurse=False), None) is not None
        return has_parameters or next(m.parameters(), None) is None or super().is_leaf_module(m, module_qualified_name)


def _parts(
    network: nn.Module, graph: fx.Graph, is_frozen: Callable[[str], bool]
) -> tuple[fx.Graph | None, fx.Graph | None]:
    constant: set[fx.Node] = set()
    for node in graph.nodes:
        if node.op != "output" and constant.issuperset(node.all_input_nodes) and _is_constant(network, node, is_frozen):
            constant.add(node)
    ends = [node for node in graph.nodes if node in constant and not constant.issuperset(node.users)]
    if len(ends) != 1 or ends[0].op == "placeholder":
        return None, graph
    front, rest = fx.Graph(), fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    for node in graph.nodes:
        if node in constant:
            copies[node] = front.node_copy(node, copies.__getitem__)
    front.output(copies[ends[0]])
    copies = {ends[0]: rest.placeholder("activations")}
    for node in graph.nodes:
        if node not in constant:
            copies[node] = rest.node_copy(node, copies.__getitem__)
    return front, rest


def _is_constant(network: nn.Module, node: fx.Node, is_frozen: Callable[[str], bool]) -> bool:
    """Say whether a node gives the same for the same inputs, whatever is trained and drawn."""
    if node.op == "call_module":
        module = network.get_submodule(str(node.target))
        parameters = [f"{node.target}.{name}" for name, _ in module.named_parameters()]
        keeps_statistics = not parameters and next(module.buffers(), None) is not None
        return all(map(is_frozen, parameters)) and not keeps_statistics and not any(map(_drops, module.modules()))
    if node.op == "get_attr":
        names = {name for name, _ in network.named_parameters()}
        return str(node.target) not in names or is_frozen(str(node.target))
    return "drop" not in str(getattr(node.target, "__name__", node.target))


def _drops(module: nn.Module) -> bool:
    """Say whether a module drops at random: dropout, drop path, stochastic depth."""
    name = type(module).__name__.lower()
    share = getattr(module, "p", getattr(module, "drop_prob", 1.0))
    return ("drop" in name or "stochastic" in name) and bool(share)


def _agrees(network: nn.Module, candidate: Cut, sample: Tensor) -> bool:
    """Say whether the parts do what the whole does, in training and in evaluation."""
    modes: Mapping[nn.Module, bool] = {module: module.training for module in network.modules()}
    twin = copy.deepcopy(network)
    pairs = dict(zip(network.modules(), twin.modules(), strict=True))
    for training in (True, False):
        for module, mode in modes.items():
            pairs[module].training = mode and training
        if not _gives_the_same(twin, candidate, sample):
            return False
    return True


def _gives_the_same(network: nn.Module, candidate: Cut, sample: Tensor) -> bool:
    def of(run: Callable[[], Any]) -> Tensor:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)  # so that what drops at random drops the same
            return torch.as_tensor(run())

    def parts() -> Tensor:
        front, rest = candidate.front_of(network), candidate.rest_of(network)
        return torch.as_tensor(rest(front(sample) if front else sample))

    modes = [(module, module.training) for module in network.modules()]
    expected = of(lambda: network(sample))
    try:
        actual = of(parts)
    except Exception:  # shapes that tracing has fixed do not fit
        return False
    for module, training in modes:
        module.training = training
    return bool((actual - expected).abs().max() <= TOLERANCE * expected.abs().max())
