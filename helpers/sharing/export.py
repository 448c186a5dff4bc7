"""Writes a trained adapter in the forms that others can load: the adapter itself, or merged with its base into one model.

A merge streams: a shard of the base is read, the adapter's part is added in FP32, and the shard is written, so that a model can be merged
that is larger than the memory. Every form appears under its name only when it is complete, and carries `export.json`, which says
from which run it is. `helpers/proof.py` reads it back.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from helpers import machine as machines
from helpers.runs import write_json, writing
from helpers.tiny import TINY_MODEL
from helpers.training import Adapter, end_tokens, lock_folder

from helpers.training.unsloth_first import quiet  # isort: skip  (before transformers, trl and peft)
import torch
from huggingface_hub import snapshot_download, split_torch_state_dict_into_shards
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
SMALLEST_SHARD, LARGEST_SHARD = (
    50_000_000,
    4_000_000_000,
)  # bytes; between them an eighth of the model, which bounds the memory
TINY = "helpers/tiny/model"  # the embedded base, by its path in this project
MARK, UNFINISHED = "export.json", ".unfinished"


def merge(
    base: str,
    adapter: Adapter,
    folder: str | Path,
    precision: str = "fp32",
    staging: str | Path | None = None,
) -> Path:
    """Writes base + adapter as one plain model: sharded safetensors, tokenizer, chat template, generation config.

    base: Hub id or folder of *unquantised* weights; merging into 4-bit weights would round the adapter away.
    precision: "fp32", "bf16" or "fp16". staging: where it is made before it appears under its name; by default beside it.
    Raises ValueError (not this base, or nothing that can be merged), OSError (no room).
    """
    if precision not in PRECISIONS:
        raise ValueError(f"Unknown precision {precision!r}.\nUse one of: {', '.join(PRECISIONS)}.")
    weights = base_files(base)
    deltas = changes(weights, adapter)
    with Staged(folder, staging, reads=(adapter.folder, weights)) as part:
        shards = plan_shards(weights, PRECISIONS[precision])
        part.needs(shards.metadata["total_size"] + 20_000_000)
        missing = set(deltas) - {
            name for names in shards.filename_to_tensors.values() for name in names
        }
        if missing:
            raise ValueError(
                f"The base {base} has no weights {', '.join(sorted(missing)[:3])}, which the adapter changes.\n"
                "Set MODEL to the model that the adapter was trained on; a head that is tied to the embedding cannot be merged alone."
            )
        write_companions(weights, adapter, part.path, precision)
        for file, names in shards.filename_to_tensors.items():
            with quiet():
                save_file(
                    read(weights, names, deltas, PRECISIONS[precision]),
                    part.path / file,
                    {"format": "pt"},
                )
            gc.collect()
        if shards.is_sharded:
            write_json(
                part.path / "model.safetensors.index.json",
                {"metadata": shards.metadata, "weight_map": shards.tensor_to_filename},
            )
        write_json(part.path / MARK, origin(base, adapter, "merged", precision))
    return Path(folder)


def copy_adapter(base: str, adapter: Adapter, folder: str | Path) -> Path:
    """Writes the adapter as others can load it: its configuration names the base by its public name, and no folder of this machine."""
    with Staged(folder, None, reads=(adapter.folder,)) as part:
        part.needs(adapter.weights.stat().st_size)
        shutil.copy(adapter.weights, part.path)
        config = json.loads((adapter.folder / "adapter_config.json").read_text(encoding="utf-8"))
        write_json(
            part.path / "adapter_config.json",
            config | {"base_model_name_or_path": public_name(base)},
        )
        write_tokenizer(adapter, part.path)
        write_json(part.path / MARK, origin(base, adapter, "adapter", None))
    return Path(folder)


class Staged:
    """A folder that is made elsewhere and appears under its name when the `with` ends well; else nothing of it stays.

    reads: folders that it is made from, which it must neither replace nor lie in. Raises RuntimeError if another process is making it.
    """

    def __init__(self, folder: str | Path, staging: str | Path | None, reads: Sequence[Path] = ()):
        self.folder, self.reads = Path(folder).resolve(), reads
        self.path = (Path(staging).resolve() if staging else self.folder.parent) / (
            self.folder.name + ".part"
        )

    def __enter__(self) -> Staged:
        for place in (self.folder, self.path):
            for read_ in (path.resolve() for path in self.reads):
                if place == read_ or place in read_.parents or read_ in place.parents:
                    raise FileExistsError(
                        f"{place} would be written over {read_}, which it is made from.\nChoose another folder."
                    )
        if (
            self.folder.exists()
            and not self.folder.is_dir()
            or self.folder.is_dir()
            and any(self.folder.iterdir())
            and not (self.folder / MARK).is_file()
        ):
            raise FileExistsError(
                f"{self.folder} holds files that are not from an export.\nMove them, or choose another folder."
            )
        for place in {self.path, self.beside}:
            if place.exists() and not (
                place.is_dir()
                and (
                    not any(place.iterdir())
                    or any((place / mark).is_file() for mark in (UNFINISHED, MARK))
                )
            ):
                raise FileExistsError(
                    f"{place} is in the way, and is not from an export that broke off.\nMove it, or choose another folder."
                )
        with contextlib.ExitStack() as held:
            for place in sorted({self.folder, self.path}):
                machines.writable_folder(place.parent)
                held.enter_context(lock_folder(place, "exporting to"))
            for place in {self.path, self.beside}:
                discard(place)
            machines.writable_folder(self.path)
            (self.path / UNFINISHED).touch()
            self.held = held.pop_all()
        return self

    @property
    def beside(self) -> Path:
        """Where it lies, whole, the moment before it gets its name."""
        return self.folder.with_name(self.folder.name + ".part")

    def needs(self, size: int) -> None:
        """Raises OSError unless `size` bytes have room where it is made and, if that is another disk, where it will lie."""
        places = {os.stat(place).st_dev: place for place in (self.folder.parent, self.path)}
        for place in places.values():
            if (free := shutil.disk_usage(place).free) < size:
                raise OSError(
                    f"This export needs {size / 1e9:.2f} GB; {free / 1e9:.2f} GB are free at {place}.\n"
                    "Make room, or set OUTPUT to a larger disk (Kaggle: /kaggle/temp); in a terminal --out or --staging."
                )

    def __exit__(self, kind, error, trace) -> None:
        with self.held:
            if kind is not None:
                discard(self.path)
                return
            if self.path != self.beside:
                self.move()
            (
                self.beside / UNFINISHED
            ).unlink()  # before the earlier export goes: what lies beside is whole
            discard(self.folder)
            os.replace(self.beside, self.folder)

    def move(self) -> None:
        """Brings it from its staging to where it will lie; on another disk by copying, the mark of what is unfinished first."""
        with writing(self.folder), contextlib.ExitStack() as broken_off:
            broken_off.callback(discard, self.path)
            broken_off.callback(discard, self.beside)
            try:
                os.replace(self.path, self.beside)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                self.beside.mkdir()
                (self.beside / UNFINISHED).touch()
                shutil.copytree(self.path, self.beside, dirs_exist_ok=True)
            broken_off.pop_all()
        discard(self.path)


def discard(folder: Path) -> None:
    """Deletes an export or what is left of one, its marks last: killed on the way, it is still known as one."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.name not in (MARK, UNFINISHED):
            shutil.rmtree(
                path, ignore_errors=True
            ) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def base_files(base: str) -> Path:
    """The folder with the base's weights, from the Hub where `base` is an id. Raises ValueError if they are quantised or not whole."""
    folder = Path(base)
    if not folder.is_dir():
        try:
            folder = Path(
                snapshot_download(
                    base,
                    allow_patterns=["*.json", "*.safetensors", "*.jinja", "*.txt"],
                    ignore_patterns=["*/*"],
                )
            )
        except OSError as error:
            raise ConnectionError(
                f"The base {base!r} could not be loaded from the Hub ({type(error).__name__}).\n"
                "Check the network and the id, or set MODEL to a local folder."
            ) from error
    if getattr(AutoConfig.from_pretrained(folder), "quantization_config", None):
        raise ValueError(
            f"The weights of {base} are quantised; a merge into them would round the adapter away.\n"
            "Set MODEL to the unquantised model of the same name."
        )
    if absent := sorted({path.name for path in sources(folder).values() if not path.is_file()}):
        raise ValueError(
            f"{base} lacks {', '.join(absent[:3])}.\nDownload it again; weights must be in safetensors, other kinds can hide code."
        )
    return folder


IN_MEMORY = "Merge it in memory: PeftModel.from_pretrained(base, adapter).merge_and_unload().save_pretrained(folder)."
# What PEFT can do besides W + scale·BA
NOT_PLAIN = (
    "modules_to_save",
    "use_dora",
    "trainable_token_indices",
    "alora_invocation_tokens",
    "arrow_config",
    "layer_replication",
    "target_parameters",
    "use_bdlora",
    "use_qalora",
    "velora_config",
    "kasa_config",
    "monteclora_config",
    "lora_bias",
)


def changes(weights: Path, adapter: Adapter) -> dict[str, LoraLayer]:
    """PEFT's LoRA layers, each under the name of the weight that it changes; the base's own weights are not loaded for it.

    adapter: a folder that `check_adapter` has found whole. Raises ValueError for one that is not only LoRA matrices, or not of this base.
    """
    config = adapter.config
    extra = [name for name in NOT_PLAIN if getattr(config, name, None)]
    bias = getattr(config, "bias", "none")  # other kinds of adapters have none
    if config.peft_type != "LORA" or bias != "none" or extra:
        raise ValueError(
            f"The adapter in {adapter.folder} is more than LoRA matrices ({', '.join([str(config.peft_type), f'bias={bias}', *extra])}).\n{IN_MEMORY}"
        )
    with quiet():
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(weights))
        model = PeftModel(model, config, low_cpu_mem_usage=True)
    try:
        stored = load_file(adapter.weights)
        lora = {
            name.replace(".weight", ".default.weight"): tensor.float()
            for name, tensor in stored.items()
        }
        model.load_state_dict(lora, strict=False, assign=True)
    except RuntimeError as error:  # matrices of another size
        raise ValueError(
            f"The matrices in {adapter.folder} are not those of its configuration on this base ({type(error).__name__}).\n"
            "Set MODEL to the model that the adapter was trained on, or train it again."
        ) from error
    if any("lora_embedding" in name for name in lora):
        raise ValueError(
            f"The adapter in {adapter.folder} changes the embedding, which is more than LoRA matrices on linear layers.\n{IN_MEMORY}"
        )
    layers = {
        name.removeprefix("base_model.model.") + ".weight": module
        for name, module in model.named_modules()
        if isinstance(module, LoraLayer)
    }
    known = {
        name
        for name, tensor in model.state_dict().items()
        if "lora_" in name and not tensor.is_meta
    }
    if known != set(lora) or len(known) != 2 * len(layers):
        raise ValueError(
            f"The matrices in {adapter.folder} are not those of its configuration on this base ({len(lora)} there, {2 * len(layers)} belong).\n"
            "Set MODEL to the model that the adapter was trained on, or train it again."
        )
    return layers


def sources(weights: Path) -> dict[str, Path]:
    """The file of each of the base's tensors: as its index says, else all in the one file. Raises ValueError for a file that cannot be read."""
    index, one = weights / "model.safetensors.index.json", weights / "model.safetensors"
    try:
        if index.is_file():
            return {
                name: weights / file
                for name, file in json.loads(index.read_text(encoding="utf-8"))[
                    "weight_map"
                ].items()
            }
        if not one.is_file():
            return {"": one}
        with safe_open(one, "pt") as file:
            return dict.fromkeys(file.keys(), one)
    except (SafetensorError, ValueError, KeyError, AttributeError) as error:
        raise ValueError(
            f"The weights in {weights} are damaged ({type(error).__name__}: {str(error)[:100]}).\nDownload the model again."
        ) from error


def plan_shards(weights: Path, dtype: torch.dtype):
    """Which tensor goes into which file; an eighth of the model a file."""
    shapes: dict[str, torch.Tensor] = {}
    for name, path in sources(weights).items():
        with safe_open(path, "pt") as file:
            shapes[name] = torch.empty(file.get_slice(name).get_shape(), dtype=dtype, device="meta")
    total = sum(tensor.nbytes for tensor in shapes.values())
    return split_torch_state_dict_into_shards(
        shapes, max_shard_size=min(LARGEST_SHARD, max(SMALLEST_SHARD, total // 8))
    )


@torch.no_grad()
def read(
    weights: Path, names: list[str], deltas: Mapping[str, LoraLayer], dtype: torch.dtype
) -> dict[str, torch.Tensor]:
    """These tensors of the base in `dtype`, each with its LoRA part added in FP32."""
    found, where = {}, sources(weights)
    for name in names:
        with safe_open(
            where[name], "pt"
        ) as file:  # opened for each, so that what is read does not stay mapped
            tensor = file.get_tensor(name)
        if name in deltas:
            tensor = tensor.float() + deltas[name].get_delta_weight("default").float()
        found[name] = tensor.to(dtype, copy=True)
    return found


def write_companions(weights: Path, adapter: Adapter, folder: Path, precision: str) -> None:
    """Configuration, generation settings, tokenizer and chat template. The end of a chat turn ends a reply, as in training."""
    config = AutoConfig.from_pretrained(weights)
    config.dtype = PRECISIONS[precision]
    tokenizer = write_tokenizer(adapter, folder)
    try:
        generation = GenerationConfig.from_pretrained(weights)
    except OSError:
        generation = GenerationConfig.from_model_config(config)
    generation.eos_token_id, generation.pad_token_id = (
        sorted(end_tokens(generation, tokenizer)),
        tokenizer.pad_token_id,
    )
    if not generation.do_sample:
        generation.temperature = generation.top_p = generation.top_k = generation.min_p = (
            None  # else the library refuses to save them
        )
    config.save_pretrained(folder)
    generation.save_pretrained(folder)


def write_tokenizer(adapter: Adapter, folder: Path):
    """The adapter's tokenizer with its chat template, without traces of where it was loaded from."""
    tokenizer = adapter.tokenizer
    for trace in ("is_local", "local_files_only"):
        tokenizer.init_kwargs.pop(trace, None)
    tokenizer.save_pretrained(folder)
    return tokenizer


def origin(base: str, adapter: Adapter, form: str, precision: str | None) -> dict:
    """What `export.json` says: which run this is, without names of this machine. An adapter from elsewhere has no run."""
    manifest = adapter.run.manifest if adapter.run else {}
    return {
        "form": form,
        "precision": precision,
        "base": public_name(base),
        "adapter_sha256": adapter.hash,
        "recipe": manifest.get("recipe"),
        "stage": manifest.get("stage"),
        "run": adapter.run.hash if adapter.run else None,
        "versions": machines.versions(),
    }


def origin_of(folder: str | Path) -> dict:
    """What an export's `export.json` says; {} where there is none."""
    mark = Path(folder) / MARK
    return json.loads(mark.read_text(encoding="utf-8")) if mark.is_file() else {}


def public_name(base: str) -> str:
    """A Hub id as it is; the embedded model by its path in this project; of any other folder the last part."""
    if is_hub_id(base):
        return base
    path = Path(base).absolute()
    return TINY if path.parts[-3:] == TINY_MODEL.parts[-3:] else path.name


def is_hub_id(name: str) -> bool:
    """Whether a name can be one of the Hub's, and is no folder or file here.

    >>> is_hub_id("Qwen/Qwen3-4B"), is_hub_id("/home/me/model"), is_hub_id("../model")
    (True, False, False)
    """
    return (
        re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", name) is not None
        and not Path(name).exists()
    )


def unquantised_name(base: str) -> str:
    """The Hub id of the weights that a 4-bit copy was made from: Unsloth's copies say so in their names.

    >>> unquantised_name("unsloth/Qwen3-4B-unsloth-bnb-4bit")
    'unsloth/Qwen3-4B'
    """
    return base if Path(base).exists() else base.removesuffix("-bnb-4bit").removesuffix("-unsloth")


def megabytes(folder: str | Path) -> float:
    """The size of all files in a folder, in MB (10⁶ bytes)."""
    return sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file()) / 1e6
