"""Adds an adapter to its base: W + (α/r)·BA, written as one plain model.

It streams: a shard of the base is read, the adapter's part is added in FP32, and the shard is
written, so that a model can be merged that is larger than the memory.
"""

from collections.abc import Collection
from pathlib import Path

from helpers.machine import checked_downloads
from helpers.runs import write_json
from helpers.sharing.export import Export, complete, origin_of, proved_before, staged
from helpers.training import Adapter, quiet, whole_weights

import torch  # isort: skip  (after Unsloth, as all below)
from huggingface_hub import (
    get_local_safetensors_metadata,
    snapshot_download,
    split_torch_state_dict_into_shards,
)
from peft import PeftModel
from peft.tuners.lora import Linear, LoraLayer
from peft.utils import ModulesToSaveWrapper
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
LARGEST_SHARD = 5_000_000_000  # bytes, as on the Hub; it bounds the memory
COMPANIONS = 20_000_000  # bytes, for tokenizer and settings
WANTED = ("*.json", "*.safetensors", "*.jinja", "*.txt")  # of a base on the Hub


def folder_of(base: str) -> Path:
    """Where a base lies, after a download. Raises ConnectionError if there is none."""
    if Path(base).is_dir():
        return Path(base)
    try:
        with checked_downloads():
            return Path(snapshot_download(base, allow_patterns=WANTED, ignore_patterns="*/*"))
    except (OSError, ValueError) as error:
        what = f"The base {base} could not be loaded from the Hub ({type(error).__name__})"
        cure = "Check the network and the id, or set MODEL to a local folder."
        raise ConnectionError(f"{what}.\n{cure}") from error


@torch.no_grad()
def merge(
    base: str,
    adapter: Adapter,
    folder: str | Path,
    precision: str = "fp32",
    staging: str | Path | None = None,
) -> Export:
    """Writes base + adapter as one plain model, with tokenizer, chat template and settings.

    base: Hub id or folder of *unquantised* weights: 4-bit ones would round the adapter away.
    precision: "fp32", "bf16" or "fp16". staging: where it is made before it gets its name.
    Raises ValueError (not this base, or nothing that can be merged) or OSError (no base, no room).
    """
    adapter.tokenizer  # noqa: B018  raises where there is none, before all the work
    folder = Path(folder)
    weights = folder_of(base)
    origin = origin_of(base, adapter, "merged", precision)
    if proved_before(folder, origin):
        return Export.read(folder)
    config = AutoConfig.from_pretrained(weights)
    if getattr(config, "quantization_config", None):
        what = f"The weights of {base} are quantised; a merge would round the adapter away"
        raise ValueError(f"{what}.\nSet MODEL to the unquantised model of the same name.")
    vars(config).pop("auto_map", None)  # code that is not in the export, and was not run
    config.dtype = dtype = PRECISIONS[precision]
    files, shards = plan_shards(weights, dtype)
    deltas = lora_layers(config, files, adapter)
    size = shards.metadata["total_size"] + COMPANIONS
    with staged(folder, weights, size, staging) as made:
        config.save_pretrained(made)
        for file, names in shards.filename_to_tensors.items():
            tensors = {}
            for name in names:
                with safe_open(files[name], "pt") as stored:  # anew, else what is read stays mapped
                    tensor = stored.get_tensor(name)
                if name in deltas:
                    tensor = tensor.float() + deltas[name].get_delta_weight("default")
                tensors[name] = tensor.to(dtype, copy=True)
            save_file(tensors, made / file, {"format": "pt"})
        if shards.is_sharded:
            index = {"metadata": shards.metadata, "weight_map": shards.tensor_to_filename}
            write_json(made / "model.safetensors.index.json", index)
        complete(made, base, adapter, origin)
    return Export.read(folder)


def plan_shards(weights: Path, dtype: torch.dtype):
    """The file of each of the base's tensors, and which goes into which file of the merged model.

    Only safetensors are read: other kinds can hide code. Raises ValueError if one is not whole.
    """
    with whole_weights("model.safetensors", weights):
        stored = get_local_safetensors_metadata(weights)
    files, shapes = {}, {}
    for name, file in stored.weight_map.items():
        files[name] = weights / file
        with whole_weights(file, weights), safe_open(files[name], "pt") as opened:
            shape = opened.get_slice(name).get_shape()
        shapes[name] = torch.empty(shape, dtype=dtype, device="meta")
    return files, split_torch_state_dict_into_shards(shapes, max_shard_size=LARGEST_SHARD)


def lora_layers(config, names: Collection[str], adapter: Adapter) -> dict[str, LoraLayer]:
    """PEFT's LoRA layers, each by the name of the weight that it changes.

    The base's own weights are not loaded for it. Raises ValueError for an adapter that is not only
    LoRA matrices on linear layers, or not of this base.
    """
    with quiet():
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
        model = PeftModel(model, adapter.config, low_cpu_mem_usage=True)
    stored = {}
    for name, tensor in load_file(adapter.weights).items():
        stored[name.replace(".weight", ".default.weight")] = tensor.float()
    fits = stored.keys() == {name for name in model.state_dict() if "lora_" in name}
    layers = {}
    for name, module in model.named_modules():
        if isinstance(module, LoraLayer):
            weight = name.removeprefix("base_model.model.") + ".weight"
            layers[weight] = module
            plain = type(module) is Linear and not module.lora_variant  # no DoRA, say
            fits = fits and plain and weight in names
    if not fits:
        what = "is not just LoRA matrices on this base"
        ends = {"embeddings": model.get_input_embeddings(), "head": model.get_output_embeddings()}
        for noun, layer in ends.items():
            if isinstance(layer, LoraLayer | ModulesToSaveWrapper):
                what += f": it changes the {noun}"
        raise ValueError(
            f"The adapter in {adapter.folder} {what}.\n"
            "Set MODEL to the model that it was trained on; merge another kind in memory: "
            "PeftModel.from_pretrained(base, adapter).merge_and_unload().save_pretrained(folder)."
        )
    model.load_state_dict(stored, strict=False, assign=True)
    return layers
