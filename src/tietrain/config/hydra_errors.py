"""What Hydra and OmegaConf refuse, said in our three parts: the setting, the problem, the remedy."""

import re
from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches

from yaml import MarkedYAMLError

from tietrain.config.keys import ALL, suggestion, tying_choices
from tietrain.config.other_names import SCHEMES
from tietrain.errors import SettingsError, TietrainError, first_line
from tietrain.plan.aliases import our_name
from tietrain.plan.catalogue import load_scheme
from tietrain.plan.rules import RULES

# Setting, problem, remedy.
Refusal = tuple[str, str, str]

# Launchers and sweepers of Hydra plugins -> the extra that installs them.
PLUGINS = {**dict.fromkeys(("joblib", "submitit_local", "submitit_slurm"), "launchers"), "optuna": "search"}
# Types of OmegaConf -> what a value is not, and what to give.
TYPES = {
    "Integer": ("an integer", "a whole number"),
    "Float": ("a number", "a number"),
    "Boolean": ("true or false", "true or false"),
    "String": ("text", "text"),
}
# Mappings of the user's own keys -> how to add one.
ADDED = {"data.splits": "NAME=[FILE]", "data.features": "COLUMN=WIDTH", "task.train_pairs": "DIRECTION=PAIRS"}


def hydra_error(error: BaseException, overrides: Sequence[str]) -> TietrainError:
    """The refusal that an error of Hydra stands for; a TietrainError among its causes is returned as it is."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, TietrainError):
            return cause
    if isinstance(error, MarkedYAMLError) and error.problem_mark:
        where = f"{error.problem_mark.name}, line {error.problem_mark.line + 1}"
        return SettingsError(where, f"it is not YAML ({error.problem})", "correct the file")
    text = "\n".join(map(str, causes))
    requested = " ".join(overrides)
    for pattern, words in EXPLANATIONS.items():
        if found := re.search(pattern, text):
            groups = found.groups()
            parts = words(text, requested, *groups) if callable(words) else [part.format(*groups) for part in words]
            return SettingsError(*parts)
    remedy = "`tietrain --help` shows the groups and their choices"
    requested = " ".join(word for word in overrides if word.lstrip("+~").partition("=")[0] in text) or requested
    return SettingsError(requested or "the configuration", first_line(error), remedy)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error and what it came from: OmegaConf's own error says which value was wrong."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _unknown_key(text: str, requested: str, group: str, key: str) -> Refusal:
    return f"{group}.yaml: {key}", "there is no such key", suggestion(key, ALL)


def _plugin(text: str, requested: str, kind: str, name: str) -> Refusal:
    others = f"choose from basic, {', '.join(PLUGINS)}"
    remedy = f"pip install 'tietrain[{PLUGINS[name]}]'" if name in PLUGINS else others
    return f"hydra/{kind}={name}", f"no installed package has the {kind} {name}", remedy


def _choice(text: str, requested: str, group: str, name: str) -> Refusal:
    listed = re.search(r"Available options in '\w+':\n((?:\s+\S+\n?)+)", text)
    options = listed.group(1).split() if listed else []
    if group == "tying":
        options = options or tying_choices()
    scheme, colon, stated = name.partition(":")
    ours = our_name(scheme) or SCHEMES.get(scheme.lower()) if group == "tying" else None
    near = get_close_matches(scheme, options, n=1)
    if ours:
        remedy = f"here it is called tying={ours}{colon}{stated}"
    elif near:
        remedy = f"did you mean {group}={near[0]}{colon}{stated}?"
    elif group == "tying":
        remedy = "`tietrain schemes` lists them"
    else:
        remedy = f"choose from {', '.join(options)}"
    return f"{group}={name}", f"{group} has no such choice", remedy


def _type(text: str, requested: str, value: str, type_name: str) -> Refusal:
    key = re.search(r"full_key: (\S+)", text) or re.search(r"Error merging override (\S+?)=", text)
    kind, wanted = TYPES.get(type_name, (f"of type {type_name.lower()}", f"a value of type {type_name.lower()}"))
    return f"{key.group(1)}={value}" if key else requested, f'"{value}" is not {kind}', f"give {wanted}"


def _interpolation(text: str, requested: str, name: str) -> Refusal:
    found = re.search(r"(\S+)=\S*\$\{", requested)
    problem = (
        f"${{{name}}} is not a value here: settings read no environment, run nothing and refer to no other setting"
    )
    return found[1] if found else requested, problem, "write the value itself; a shell puts it in with double quotes"


def _not_there(text: str, requested: str, key: str) -> Refusal:
    for mapping, how in ADDED.items():
        if key.startswith(mapping):
            return key, "no file names it, so it must be added", f"write +{mapping}.{how}"
    if not key.startswith("tying.ties."):
        return key, "there is no such key", suggestion(key, ALL)
    label, _, option = key.removeprefix("tying.ties.").partition(".")
    if label not in re.split(r"[^\w]+", requested.replace(key, "")):
        return key, f"the tie {label} is not chosen", f"choose it first: tying={label}"
    rules = [tie["rule"] for tie in load_scheme(label).ties.values()] if label in tying_choices() else []
    options = [name for rule in rules for name in RULES[rule].options]
    near = [name for name in get_close_matches(option, options, n=1) if name != option]
    if option in options:  # some cell of a grid has another scheme
        value = re.search(rf"{re.escape(key)}=(\S+)", requested)
        remedy = f"write {label}:{option}:{value[1] if value else 'VALUE'} in its place there"
        return key, f"not every scheme of the grid is {label}", remedy
    remedy = (
        f"did you mean tying.ties.{label}.{near[0]}?" if near else f"its options are {', '.join(options) or 'none'}"
    )
    return key, f"the tie {label} has no option {option}", remedy


GRID = ("{}", "several values are a grid", "add -m to run it, or brackets for a list: key=[a,b]")
NULL = ("{0}=null", "it needs a value", "give one, or leave it out")
SPLIT = ("{0}={1}", "it is not a list of files", "write data.splits.train=[{1}]")
# What Hydra or OmegaConf writes -> our words for it, with the groups of the pattern; if they depend on the whole text
# or on the overrides, a function of these too.
EXPLANATIONS: dict[str, Refusal | Callable[..., Refusal]] = {
    r"(?s)In '([^']+)': .*?Key '([^']+)' not in": _unknown_key,
    r"Could not (?:find|load) 'hydra/(launcher|sweeper)/([^']+)'": _plugin,
    r"Could not (?:find|load) '(\w+)/([^']+)'": _choice,
    r"Could not find '([\w/]+)/'": ("{0}=", "nothing is chosen", "`tietrain --help` lists the choices of {0}"),
    r"Value '(.*)' of type '\w+' could not be converted to (\w+)": _type,
    r"Ambiguous value for argument '([^']+)'": GRID,
    r"Could not override '([^']+)'": _not_there,
    r"Error merging override (\S+)=(?:null|None)\b": NULL,
    r"Unsupported interpolation type (\S+)": _interpolation,
    r"Interpolation key '(\S+)' not found": _interpolation,
    r"Error merging override (data\.splits\S*?)=(\S+)": SPLIT,
}
