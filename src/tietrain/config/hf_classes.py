"""The classes of transformers that compute as models of tietrain do: what each can hold, and its config.json and back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tietrain.config.layout import Layout
from tietrain.config.run import RunConfig
from tietrain.errors import DataError, SettingsError
from tietrain.plan.plan import TyingPlan

# Setting of the model -> its value -> what config.json has for it; other settings have one value in both.
AS_THERE: dict[str, dict[Any, Any]] = {
    "activation": {"gelu": "gelu", "gelu_tanh": "gelu_new", "relu": "relu", "swiglu": "silu"},
    "embed_scale": {"1": False, "sqrt_d": True},
}
# Types of a value, where it is not a whole number.
KINDS = {"dropout": (int, float), "attn_bias": (bool,), "ffn_bias": (bool,)}
# Keys that may be null.
OPTIONAL = ("n_inner", "num_key_value_heads", "head_dim", "decoder_vocab_size", "dropout", "resid_pdrop", "embd_pdrop")


@dataclass(frozen=True)
class HfClass:
    """A class of transformers.

    holds: setting of the model -> the values that the class has. keys: key of config.json -> setting of the model.
    fixed: key -> the value with which the class computes as tietrain does, and what it assumes if the key is absent.
    base: what the names of its tensors begin with, but not in a file of the model without its output.
    ties_tables: whether its tables are one if config.json does not say. filled: whether its heads are d_model wide together,
    and each has keys of its own. biases: whether every matrix but tables, and every LayerNorm, has a bias; if not, settings
    decide.
    """

    name: str
    task: str
    holds: Mapping[str, tuple[Any, ...]]
    keys: Mapping[str, str]
    fixed: Mapping[str, tuple[Any, Any]]
    base: str = "model"
    ties_tables: bool = True
    filled: bool = True
    biases: bool = True

    @property
    def scales_embeddings(self) -> bool:
        """Whether it can multiply embeddings by sqrt(d_model)."""
        return "embed_scale" in self.keys.values()

    def name_of(self, stored: str) -> str:
        """The name of a tensor in the class: `transformer.wte.weight` of GPT-2 for `wte.weight`."""
        is_whole = stored.startswith((f"{self.base}.", "lm_head.", "final_logits_bias"))
        return stored if is_whole else f"{self.base}.{stored}"


GPT2 = HfClass(
    name="GPT2LMHeadModel",
    task="lm",
    holds={
        "norm": ("layer",),
        "norm_position": ("pre",),
        "positions": ("learned",),
        "activation": ("gelu", "gelu_tanh", "relu"),
        "output_bias": (False,),
    },
    keys={
        "vocab_size": "vocab_size",
        "n_embd": "d_model",
        "n_head": "n_heads",
        "n_inner": "d_ff",
        "n_layer": "n_layers",
        "n_positions": "max_len",
        "activation_function": "activation",
        "resid_pdrop": "dropout",
        "embd_pdrop": "dropout",
    },
    fixed={
        "model_type": ("gpt2", None),
        "layer_norm_epsilon": (1e-5, 1e-5),
        "scale_attn_weights": (True, True),
        "scale_attn_by_inverse_layer_idx": (False, False),
        "add_cross_attention": (False, False),
    },
    base="transformer",
)
ROPE = {"rope_type": "default", "rope_theta": 10_000.0}
LLAMA = HfClass(
    name="LlamaForCausalLM",
    task="lm",
    holds={
        "norm": ("rms",),
        "norm_position": ("pre",),
        "positions": ("rotary",),
        "activation": ("swiglu",),
        "output_bias": (False,),
    },
    keys={
        "vocab_size": "vocab_size",
        "hidden_size": "d_model",
        "num_attention_heads": "n_heads",
        "num_key_value_heads": "n_kv_heads",
        "head_dim": "d_head",
        "intermediate_size": "d_ff",
        "num_hidden_layers": "n_layers",
        "hidden_act": "activation",
        "attention_bias": "attn_bias",
        "mlp_bias": "ffn_bias",
    },
    fixed={
        "model_type": ("llama", None),
        "rms_norm_eps": (1e-5, 1e-6),
        # The first is of transformers 5, the others of version 4.
        "rope_parameters": (ROPE, ROPE),
        "rope_theta": (10_000.0, 10_000.0),
        "rope_scaling": (None, None),
    },
    ties_tables=False,
    filled=False,
    biases=False,
)
MARIAN = HfClass(
    name="MarianMTModel",
    task="mt",
    holds={
        "norm": ("layer",),
        "norm_position": ("post",),
        "positions": ("sinusoidal",),
        "activation": ("gelu", "relu"),
    },
    keys={
        "vocab_size": "vocab_size",
        "decoder_vocab_size": "target_vocab_size",
        "d_model": "d_model",
        "encoder_attention_heads": "n_heads",
        "decoder_attention_heads": "n_heads",
        "encoder_ffn_dim": "d_ff",
        "decoder_ffn_dim": "d_ff",
        "encoder_layers": "n_encoder_layers",
        "decoder_layers": "n_layers",
        "activation_function": "activation",
        "scale_embedding": "embed_scale",
        "dropout": "dropout",
    },
    fixed={"model_type": ("marian", None)},
)
CLASSES = (GPT2, LLAMA, MARIAN)
SHAPES = "export models of the shape of model=gpt2, mobilellm_125m or vaswani_base, of any size (docs/hugging_face.md)"


def fitting_class(requested: str, config: RunConfig, layout: Layout, plan: TyingPlan) -> HfClass:
    """The class that holds a model; SettingsError that lists, for each class of its task, the settings in the way."""
    found = [hf_class for hf_class in CLASSES if hf_class.task == config.task.name]
    in_the_way = {hf_class.name: list(_obstacles(hf_class, config, layout, plan)) for hf_class in found}
    for hf_class in found:
        if not in_the_way[hf_class.name]:
            return hf_class
    cannot = [f"{name} cannot hold {', '.join(settings)}" for name, settings in in_the_way.items()]
    problem = "; ".join(cannot) or f"no class of transformers computes as a model of task={config.task.name} does"
    raise SettingsError(requested, problem, SHAPES)


def _obstacles(hf_class: HfClass, config: RunConfig, layout: Layout, plan: TyingPlan) -> Iterator[str]:
    """The settings that the class cannot hold, each with its value."""
    values = model_values(config, plan)
    for name, held in hf_class.holds.items():
        if values[name] not in held:
            yield f"model.{name}={str(values[name]).lower()}"
    if hf_class.filled:
        if values["n_kv_heads"] != values["n_heads"]:
            yield f"model.n_kv_heads={values['n_kv_heads']}"
        if values["d_head"] * values["n_heads"] != values["d_model"]:
            yield f"model.d_head={values['d_head']}"
    elif values["d_model"] % values["n_heads"]:
        yield f"model.n_heads={values['n_heads']}"
    if len(layout.directions) > 1:
        yield f"task.directions=[{', '.join(direction.name for direction in layout.directions)}]"
    elif len(layout.stacks) > 2:
        yield f"task.directions=[{layout.directions[0].name}] of several encoders"
    if config.data.features:
        yield f"data.features={{{', '.join(config.data.features)}}}"
    if any(name not in plan.owner for name in plan.views):
        yield f"tying={config.tying_label}, which changes the inputs of layers"


def model_values(config: RunConfig, plan: TyingPlan) -> dict[str, Any]:
    """Setting of the model -> its value in a plan's shape, with what null stands for."""
    shape = plan.slots.shape
    first, last = shape.stacks[0], shape.stacks[-1]
    names = ("d_model", "n_heads", "n_kv_heads", "d_head", "d_ff", "max_len", "norm", "norm_position", "positions")
    biases = ("attn_bias", "ffn_bias", "norm_bias", "output_bias")
    values = {name: getattr(shape, name) for name in (*names, "activation", *biases)}
    values |= {name: getattr(config.model, name) for name in ("dropout", "embed_scale", "output_scale")}
    values |= {"n_layers": last.n_layers, "n_encoder_layers": first.n_layers}
    return values | {"vocab_size": first.vocab_size, "target_vocab_size": last.vocab_size}


def to_config_json(hf_class: HfClass, config: RunConfig, plan: TyingPlan) -> dict[str, Any]:
    """What config.json says of the model's shape."""
    values = model_values(config, plan)
    body = {"architectures": [hf_class.name]} | {key: value for key, (value, _) in hf_class.fixed.items()}
    body |= {key: AS_THERE.get(name, {}).get(values[name], values[name]) for key, name in hf_class.keys.items()}
    if hf_class is GPT2:
        body["attn_pdrop"] = 0.0  # in training
    return body


def from_config_json(path: str, body: Mapping[str, Any]) -> tuple[HfClass, dict[str, Any]]:
    """The class of a folder, and setting of the model -> value.

    Args:
        path: of config.json, for messages.
    Raises:
        DataError: it is of no class that is read here, or computes something that tietrain does not; all such keys are named.
    """
    names = body.get("architectures")
    found = next((hf_class for hf_class in CLASSES if names == [hf_class.name]), None)
    if found is None:
        remedy = f"give a folder of {', '.join(hf_class.name for hf_class in CLASSES)}"
        raise DataError(path, f"architectures={names} is not read", remedy)
    problems = [
        f"{key}={body.get(key, absent)} (tietrain has {value})"
        for key, (value, absent) in found.fixed.items()
        if body.get(key, absent) != value
    ]
    values: dict[str, Any] = {}
    for key, name in found.keys.items():
        value = body.get(key)
        if value is None and key in OPTIONAL:
            continue
        here = {there: value for value, there in AS_THERE.get(name, {}).items()}
        kinds = tuple(map(type, here)) or KINDS.get(name, (int,))
        if type(value) not in kinds:
            value = None
        elif here:
            value = here.get(value)
        if value is None or value not in found.holds.get(name, (value,)) or values.get(name, value) != value:
            problems.append(f"{key}={body.get(key)}")
        values[name] = value
    if problems:
        remedy = "only such models are read as compute the same in tietrain (docs/hugging_face.md)"
        raise DataError(path, f"in the way are {', '.join(problems)}", remedy)
    if found is GPT2:
        values.setdefault("d_ff", 4 * values["d_model"])
    return found, {name: held[0] for name, held in found.holds.items()} | values
