"""On a CPU what prompts share is read once, in decoding and in the loss; ended rows are dropped.

transformers and TRL read a prompt again for each of its replies, and what all prompts begin with,
such as the recipe's instruction, again for each; and transformers computes on for replies that have
ended until the longest has. Replies and loss are the same: the random numbers are drawn for all
rows, and gradients pass through the cache to the prompts.
"""

import functools
import os
from collections.abc import Callable, Mapping

import torch
from transformers import DynamicCache
from transformers.modeling_outputs import BaseModelOutputWithPast

from helpers.training.dequantised import computing

KINDS = {"full_attention", "sliding_attention"}  # of layers, whose caches can drop rows


def options(model) -> dict:
    """`decode` as `generate` takes it; {} on a GPU, or where a cache is of another kind."""
    named_otherwise = getattr(model.config, "layers_block_type", KINDS)
    kinds = set(getattr(model.config, "layer_types", None) or named_otherwise)
    if model.device.type != "cpu" or not kinds <= KINDS:
        return {}
    return {"custom_generate": decode}


def wrapper(model) -> Callable[[Callable], Callable]:
    """For `private.wrap`: lets a model's `generate` use `decode`, where it may."""
    return lambda generate: functools.partial(generate, **options(model))


def sharing_prompts(trainer) -> Callable[[Callable], Callable]:
    """For `private.wrap`: lets a trainer's `compute_loss` use `read_once`, where it may."""
    model = trainer.model.get_base_model()
    backbone = model.base_model
    sharded = trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled
    if sharded or not options(model) or getattr(model.config, "output_router_logits", False):
        return lambda compute_loss: compute_loss

    def sharing(compute_loss):
        def compute_loss_sharing(model, inputs, **given):
            width = read_alike(inputs)
            if not width:
                return compute_loss(model, inputs, **given)
            forward = functools.partial(read_once, backbone.forward, width)
            with computing(backbone, forward):
                return compute_loss(model, inputs, **given)

        return compute_loss_sharing

    return sharing


def read_alike(inputs: Mapping[str, torch.Tensor]) -> int:
    """How many tokens to read once: GRPO's whole prompts, of SFT what all rows begin with."""
    if "prompt_ids" in inputs:
        return inputs["prompt_ids"].shape[1]
    learned = (inputs["labels"] != -100).any(dim=0)
    first_learned = int(learned.int().argmax())
    return min(shared_beginning(inputs["input_ids"], inputs["attention_mask"]), first_learned)


def read_once(
    forward: Callable, width: int, input_ids, attention_mask, **given
) -> BaseModelOutputWithPast:
    """What a backbone's `forward` makes of rows; equal prompts among them are read once.

    The first `width` tokens of a row are its prompt, padded on the left; its reply is padded on the
    right. Of a prompt only the last hidden state is needed, to predict the reply; the others are 0.
    """
    cache = DynamicCache(config=forward.__self__.config)
    more = {name: value for name, value in given.items() if value is not None}
    step = more | {"past_key_values": cache, "use_cache": True}
    prompts, replies = input_ids[:, :width], input_ids[:, width:]
    read, seen = read_prompts(forward, cache, prompts, attention_mask[:, :width], step)
    mask = torch.cat([seen, attention_mask[:, width:]], dim=1)
    places = positions_of(mask)[:, width:]
    after = forward(input_ids=replies, attention_mask=mask, position_ids=places, **step)[0]
    states = torch.cat([read[:, -1:], after], dim=1)
    padded = torch.nn.functional.pad(states, (0, 0, width - 1, 0))
    return BaseModelOutputWithPast(last_hidden_state=padded)


def positions_of(mask: torch.Tensor) -> torch.Tensor:
    """The places of tokens in their own rows; those of the padding do not matter."""
    return (mask.cumsum(-1) - 1).clamp(min=0)


def shared_beginning(prompts: torch.Tensor, seen: torch.Tensor) -> int:
    """How many tokens all of several prompts begin with; none of them ends there.

    prompts, seen: padded on the left, and where there are tokens, shape (prompts, tokens).
    """
    rows = [ids[own.bool()].tolist() for ids, own in zip(prompts, seen, strict=True)]
    if len(rows) == 1:
        return 0
    return min(len(os.path.commonprefix(rows)), min(map(len, rows)) - 1)


def read_prompts(model, cache, ids: torch.Tensor, seen: torch.Tensor, step: Mapping):
    """Fills an empty cache with all prompts; what `model` says last, and the mask of the cache.

    ids, seen: padded on the left, and where there are tokens, shape (rows, tokens). What all begin
    with is read once, then the rest of each different prompt. So in the cache, and in the mask, the
    padding is no longer on the left but between the two.
    """
    # 1 the different prompts, and which of them a row has
    distinct, of_row = torch.unique(torch.cat([ids, seen], dim=1), dim=0, return_inverse=True)
    prompts, own = distinct.chunk(2, dim=1)
    # 2 read what they begin with, for one of them
    begun = 0
    if not any(cache.is_sliding):  # such a layer counts the padding between as tokens
        begun = shared_beginning(prompts, own)
    if begun:
        last_prompt = prompts[-1:, -own[-1].sum() :]
        model(input_ids=last_prompt[:, :begun], **step)
        cache.batch_select_indices(torch.zeros(len(prompts), dtype=torch.long))
    # 3 read the rest of each
    padding = ids.shape[1] - own.sum(-1, keepdim=True)
    places = torch.arange(ids.shape[1])
    mask = ((places < begun) | (places >= begun + padding)).long()
    rest = {"input_ids": prompts[:, begun:], "position_ids": positions_of(mask)[:, begun:]}
    ends = model(**rest, attention_mask=mask, **step)[0]
    # 4 from prompts to rows
    cache.batch_select_indices(of_row)
    return ends[of_row], mask[of_row]


def decode(
    model, input_ids, logits_processor, stopping_criteria, generation_config, **given
) -> torch.Tensor:
    """Takes and returns what transformers' own loop does: prompts and replies, (rows, tokens).

    input_ids and given["attention_mask"]: prompts, padded on the left, shape (rows, tokens).
    """
    rows, width = input_ids.shape
    end = generation_config.max_length
    ends = torch.tensor(generation_config.eos_token_id)
    cache = given["past_key_values"]
    ids = input_ids.new_full((rows, end), generation_config.pad_token_id)
    ids[:, :width] = input_ids
    step = {"past_key_values": cache, "use_cache": True, "logits_to_keep": 1}
    logits, seen = read_prompts(model, cache, input_ids, given["attention_mask"], step)
    mask = torch.nn.functional.pad(seen, (0, end - width), value=1)
    positions = positions_of(mask)
    alive = torch.arange(rows)
    for place in range(width, end):
        # 1 choose a token for each row that goes on
        scores = logits_processor(ids[alive, :place], logits[:, -1].float())
        if generation_config.do_sample:
            # Drawn for all rows: what one gets does not depend on which others have ended.
            shares = torch.ones(rows, scores.shape[1])
            shares[alive] = scores.softmax(-1)
            chosen = torch.multinomial(shares, 1)[alive, 0]
        else:
            chosen = scores.argmax(-1)
        ids[alive, place] = chosen
        # 2 drop the rows that have ended
        going = (~torch.isin(chosen, ends)).nonzero()[:, 0]
        if not len(going):
            break
        if len(going) < len(alive):
            alive = alive[going]
            cache.batch_select_indices(going)
        # 3 read what was chosen
        read = {"input_ids": ids[alive, place, None], "attention_mask": mask[alive, : place + 1]}
        logits = model(**read, position_ids=positions[alive, place, None], **step).logits
    return ids[:, : place + 1]
