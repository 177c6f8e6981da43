"""A model's slots as the tensors of a class of transformers, and back.

What a class cannot share it stores once for each use, and a bias that a model lacks is zero there.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from tietrain.config.hf_classes import GPT2, LLAMA, MARIAN, HfClass
from tietrain.errors import DataError
from tietrain.model.transformer import Transformer
from tietrain.plan.plan import TyingPlan
from tietrain.plan.slots import ModelShape, place_of

# How a class lays out a tensor: as it is here; a matrix transposed; with the pairs that rotary positions turn one half of a
# head apart; a vector as a matrix of one row.
PLAIN, TURNED, HALVES, ROW = "plain", "turned", "halves", "row"
TIED, SHARED = "tie_word_embeddings", "share_encoder_decoder_embeddings"
SOURCE, EMBED, OUTPUT = "encoder.embed.weight", "decoder.embed.weight", "decoder.output.weight"
# Tensors that a class computes and older files hold.
COMPUTED = re.compile(r"model\.(en|de)coder\.embed_positions\.weight|transformer\.h\.\d+\.attn\.(masked_)?bias")


@dataclass(frozen=True)
class Written:
    """A tensor of the class: its name, the slots whose tensors it is, one behind the other, and their layout."""

    name: str
    slots: tuple[str, ...]
    layout: str = PLAIN


def _gpt2(shape: ModelShape, biases: bool) -> Iterator[Written]:
    yield Written("transformer.wte.weight", ("decoder.embed.weight",))
    yield Written("transformer.wpe.weight", ("decoder.positions.weight",))
    for i in range(shape.stack("decoder").n_layers):
        here, there = f"decoder.{i}", f"transformer.h.{i}"
        yield from _module(f"{there}.ln_1", [f"{here}.self_attn_norm"], biases)
        yield from _module(f"{there}.attn.c_attn", [f"{here}.self_attn.{leaf}" for leaf in "qkv"], biases, TURNED)
        yield from _module(f"{there}.attn.c_proj", [f"{here}.self_attn.o"], biases, TURNED)
        yield from _module(f"{there}.ln_2", [f"{here}.ffn_norm"], biases)
        yield from _module(f"{there}.mlp.c_fc", [f"{here}.ffn.in"], biases, TURNED)
        yield from _module(f"{there}.mlp.c_proj", [f"{here}.ffn.out"], biases, TURNED)
    yield from _module("transformer.ln_f", ["decoder.final_norm"], biases)
    yield Written("lm_head.weight", ("decoder.output.weight",))


def _llama(shape: ModelShape, biases: bool) -> Iterator[Written]:
    yield Written("model.embed_tokens.weight", ("decoder.embed.weight",))
    for i in range(shape.stack("decoder").n_layers):
        here, there = f"decoder.{i}", f"model.layers.{i}"
        yield from _module(f"{there}.input_layernorm", [f"{here}.self_attn_norm"], biases)
        for leaf in "qkvo":
            layout = HALVES if leaf in "qk" else PLAIN
            name = f"{there}.self_attn.{leaf}_proj"
            yield from _module(name, [f"{here}.self_attn.{leaf}"], shape.attn_bias, layout)
        yield from _module(f"{there}.post_attention_layernorm", [f"{here}.ffn_norm"], biases)
        for leaf, name in (("gate", "gate_proj"), ("in", "up_proj"), ("out", "down_proj")):
            yield from _module(f"{there}.mlp.{name}", [f"{here}.ffn.{leaf}"], shape.ffn_bias)
    yield from _module("model.norm", ["decoder.final_norm"], biases)
    yield Written("lm_head.weight", ("decoder.output.weight",))


def _marian(shape: ModelShape, biases: bool) -> Iterator[Written]:
    yield Written("model.shared.weight", ("encoder.embed.weight",))
    for stack in ("encoder", "decoder"):
        yield Written(f"model.{stack}.embed_tokens.weight", (f"{stack}.embed.weight",))
        attentions = {"self_attn": "self_attn"} | ({"cross_attn": "encoder_attn"} if stack == "decoder" else {})
        for i in range(shape.stack(stack).n_layers):
            here, there = f"{stack}.{i}", f"model.{stack}.layers.{i}"
            for part, name in attentions.items():
                for leaf, last in (("q", "q_proj"), ("k", "k_proj"), ("v", "v_proj"), ("o", "out_proj")):
                    yield from _module(f"{there}.{name}.{last}", [f"{here}.{part}.{leaf}"], biases)
                yield from _module(f"{there}.{name}_layer_norm", [f"{here}.{part}_norm"], biases)
            yield from _module(f"{there}.fc1", [f"{here}.ffn.in"], biases)
            yield from _module(f"{there}.fc2", [f"{here}.ffn.out"], biases)
            yield from _module(f"{there}.final_layer_norm", [f"{here}.ffn_norm"], biases)
    yield Written("lm_head.weight", ("decoder.output.weight",))
    yield Written("final_logits_bias", ("decoder.output.bias",), ROW)


def _module(name: str, blocks: list[str], biases: bool, layout: str = PLAIN) -> Iterator[Written]:
    for leaf in ("weight", "bias") if biases else ("weight",):
        yield Written(f"{name}.{leaf}", tuple(f"{block}.{leaf}" for block in blocks), layout)


NAMES = {GPT2.name: _gpt2, LLAMA.name: _llama, MARIAN.name: _marian}


@dataclass(frozen=True)
class HfWeights:
    """Tensors by name, what config.json says of their ties, and groups of names that the class stores apart and the model ties."""

    tensors: dict[str, Tensor]
    switches: dict[str, bool]
    groups: list[list[str]]


@torch.no_grad()
def to_hf(model: Transformer, hf_class: HfClass) -> HfWeights:
    """A model's weights as the class stores them, in float32; factors on tables that it has no setting for are in the tables."""
    written = list(NAMES[hf_class.name](model.shape, hf_class.biases))
    tensors = {one.name: _made(model, hf_class, one) for one in written}
    switches = _switches(model.plan, hf_class, written, tensors)
    left_out = _left_out(switches)
    tensors = {name: tensor for name, tensor in tensors.items() if name not in left_out}
    return HfWeights(tensors, switches, _groups(model.plan, written, tensors))


def _made(model: Transformer, hf_class: HfClass, one: Written) -> Tensor:
    """A tensor as the class has it."""
    parts = torch.cat([_part(model, hf_class, slot) for slot in one.slots])
    return _laid_out(parts, one.layout, model.shape.d_head).contiguous()


def _part(model: Transformer, hf_class: HfClass, slot: str) -> Tensor:
    if slot not in model.plan.owner:  # a bias
        return torch.zeros(model.tensor(slot.removesuffix("bias") + "weight").shape[0])
    tensor = model.tensor(slot).float()
    if slot.endswith(".embed.weight") and not hf_class.scales_embeddings:
        tensor = tensor * model.tables.embed_scale
    if slot == OUTPUT:
        tensor = tensor * model.tables.output_scale
    return tensor


def _laid_out(tensor: Tensor, layout: str, d_head: int) -> Tensor:
    if layout == HALVES:
        return _exchanged(tensor, d_head // 2, 2)
    if layout == ROW:
        return tensor[None]
    return tensor.t() if layout == TURNED else tensor  # of a vector, t() is the vector


def _read_back(tensor: Tensor, layout: str, d_head: int) -> Tensor:
    """What `_laid_out` was given."""
    if layout == HALVES:
        return _exchanged(tensor, 2, d_head // 2)
    if layout == ROW:
        return tensor[0]
    return tensor.t() if layout == TURNED else tensor


def _exchanged(tensor: Tensor, a: int, b: int) -> Tensor:
    """Rows [H a b, ...] in the order [H b a, ...]."""
    rows: Tensor = tensor.unflatten(0, (-1, a, b)).transpose(1, 2).flatten(0, 2)
    return rows


def _switches(
    plan: TyingPlan, hf_class: HfClass, written: Iterable[Written], tensors: Mapping[str, Tensor]
) -> dict[str, bool]:
    """What config.json says of the tables: one, or several; two that are read with other factors are several."""
    values = {one.slots: tensors[one.name] for one in written}
    owner = plan.owner
    tied = owner[EMBED] == owner[OUTPUT] and torch.equal(values[EMBED,], values[OUTPUT,])
    if hf_class is not MARIAN:
        return {TIED: tied}
    return {TIED: tied, SHARED: tied and owner[SOURCE] == owner[EMBED]}


def _left_out(switches: Mapping[str, bool]) -> set[str]:
    """Names of tables that a class reads from another one, or does not have."""
    left_out = {"lm_head.weight"} if switches[TIED] else set()
    both = {f"model.{stack}.embed_tokens.weight" for stack in ("encoder", "decoder")}
    if SHARED in switches:
        left_out |= both if switches[SHARED] else {"model.shared.weight"}
    return left_out


def _groups(plan: TyingPlan, written: Iterable[Written], tensors: Mapping[str, Tensor]) -> list[list[str]]:
    """Names of tensors that are one in the model, for `tietrain.tie`."""
    found: dict[object, list[str]] = {}
    for one in written:
        if one.name in tensors and all(slot in plan.owner and slot not in plan.views for slot in one.slots):
            names = found.setdefault((one.layout, *(plan.owner[slot] for slot in one.slots)), [])
            if not names or torch.equal(tensors[names[0]], tensors[one.name]):
                names.append(one.name)
    return [names for names in found.values() if len(names) > 1]


def biases_of(hf_class: HfClass, shape: ModelShape, tensors: Mapping[str, Tensor]) -> dict[str, bool]:
    """Setting of the model -> whether any bias of its kind is not zero; empty if config.json says it.

    Args:
        shape: of the model, with all biases.
    """
    if not hf_class.biases:
        return {}
    found = dict.fromkeys(
        ("attn_bias", "ffn_bias", "norm_bias", *(["output_bias"] if hf_class is MARIAN else [])), False
    )
    for one in NAMES[hf_class.name](shape, True):
        if one.name in tensors and one.slots[0].endswith("bias") and tensors[one.name].any():
            part = place_of(one.slots[0]).part
            found[f"{part.rpartition('_')[2]}_bias"] = True
    return found


@torch.no_grad()
def from_hf(path: str, tensors: Mapping[str, Tensor], hf_class: HfClass, model: Transformer) -> None:
    """Give a model the weights of a folder.

    Args:
        path: of the folder, for messages.
    Raises:
        DataError: a tensor is missing, of another shape, unknown, or not what the model's ties make of the others.
    """
    written = {one.name: one for one in NAMES[hf_class.name](model.shape, hf_class.biases)}
    remedy = "give a whole folder that transformers wrote"
    if unknown := sorted(name for name in tensors.keys() - written.keys() if not COMPUTED.fullmatch(name)):
        raise DataError(path, f"{hf_class.name} has no {unknown[0]}", remedy)
    filled = set()
    for name, one in written.items():
        if name not in tensors:
            continue
        made = _made(model, hf_class, one)
        if tensors[name].shape != made.shape:
            problem = (
                f"{name} is {list(tensors[name].shape)}, and config.json and the vocabulary make it {list(made.shape)}"
            )
            raise DataError(path, problem, remedy)
        read = _read_back(tensors[name], one.layout, model.shape.d_head)
        parts = read.chunk(len(one.slots)) if len(one.slots) > 1 else [read]
        for slot, part in zip(one.slots, parts, strict=True):
            owner = model.plan.owner.get(slot)
            if owner is not None and owner not in filled:
                model.parameter(slot).copy_(part)
                filled.add(owner)
    if missing := [store.name for store in model.plan.stores if store.name not in filled]:
        raise DataError(path, f"nothing in it is {missing[0]}", remedy)
    for name, one in written.items():
        if name in tensors and not torch.equal(_made(model, hf_class, one), tensors[name]):
            problem = f"{name} has other values than what it is tied to"
            raise DataError(path, problem, "give the ties that it has; tying=none fits every folder")
