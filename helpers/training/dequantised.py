"""On a CPU, 4-bit layers compute with matrices that are dequantised once, not at every use.

The matrices live only inside a `with`. On a GPU nothing is changed: Unsloth's kernels do better.
W is a layer's matrix, A and B are LoRA's, s is α/r.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator

import bitsandbytes as bnb
import torch
from peft.tuners.lora.bnb import Linear4bit as LoRALinear4bit
from torch.nn.functional import linear


@contextlib.contextmanager
def merged_weights(model) -> Iterator[None]:
    """Each layer computes with W + sBA as it is now: for generating, since it does not train."""
    dtype = model.get_input_embeddings().weight.dtype  # what is computed in
    with contextlib.ExitStack() as held:
        for layer in layers_on_cpu(model):
            weight = matrix(layer).float()
            for name in adapters(layer):
                weight = weight + layer.get_delta_weight(name).float()
            merged = weight.detach().to(dtype)
            held.enter_context(computing(layer, functools.partial(linear, weight=merged)))
        yield


@contextlib.contextmanager
def dequantised_weights(model) -> Iterator[None]:
    """Each layer with LoRA keeps its W, and trains A and B beside it."""
    dtype = model.get_input_embeddings().weight.dtype
    with contextlib.ExitStack() as held:
        for layer in layers_on_cpu(model):
            if isinstance(layer, LoRALinear4bit):
                weight = matrix(layer).to(dtype)
                forward = beside_lora
                if one_product_is_less(layer):
                    forward = with_lora
                held.enter_context(computing(layer, functools.partial(forward, layer, weight)))
        yield


def with_lora(layer: LoRALinear4bit, weight: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """`x(W + sBA)ᵀ`."""
    for name in adapters(layer):
        weight = weight + layer.get_delta_weight(name).to(weight.dtype)
    return linear(x, weight)


def beside_lora(layer: LoRALinear4bit, weight: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """`xWᵀ + s(xAᵀ)Bᵀ`, the second term in the type of A and B."""
    result = linear(x, weight)
    for name in adapters(layer):
        inner = layer.lora_A[name](x.to(layer.lora_A[name].weight.dtype))
        result = result + (layer.lora_B[name](inner) * layer.scaling[name]).to(result.dtype)
    return result


def one_product_is_less(layer: LoRALinear4bit) -> bool:
    """Whether the gradient of W + sBA takes less than six small products with A and B."""
    inputs, outputs = layer.in_features, layer.out_features
    return inputs * outputs < 3 * max(layer.r.values()) * (inputs + outputs)


def layers_on_cpu(model) -> Iterator[torch.nn.Module]:
    """The 4-bit layers; one with LoRA is one layer, and the base's inside it is none."""
    inside = set()
    for layer in model.modules():
        if isinstance(layer, LoRALinear4bit):
            inside.add(layer.get_base_layer())
        elif not isinstance(layer, bnb.nn.Linear4bit) or layer in inside:
            continue
        if layer.weight.device.type == "cpu":
            yield layer


def adapters(layer: torch.nn.Module) -> list[str]:
    """The names of a layer's LoRA matrices that are at work."""
    if not isinstance(layer, LoRALinear4bit) or layer.disable_adapters:
        return []
    return layer.active_adapters


def matrix(layer: torch.nn.Module) -> torch.Tensor:
    """W of a 4-bit layer, (outputs, inputs)."""
    return bnb.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state)


@contextlib.contextmanager
def computing(layer: torch.nn.Module, forward: Callable) -> Iterator[None]:
    """Inside the `with` the layer's `forward` is this one, then again what it was."""
    before = vars(layer).get("forward")
    layer.forward = forward
    try:
        yield
    finally:
        del layer.forward
        if before:
            layer.forward = before
