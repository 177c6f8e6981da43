"""What Hydra and OmegaConf refuse, said in our three parts: the setting, the problem, the remedy."""

import re
from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches

from yaml import MarkedYAMLError

from tietrain.config.keys import ALL, choices_of, setting_of, suggestion, tying_choices
from tietrain.config.other_names import CHOICES
from tietrain.errors import FEW, SettingsError, TietrainError, first_line
from tietrain.plan.aliases import our_name
from tietrain.plan.catalogue import load_scheme
from tietrain.plan.rules import RULES

# Setting, problem, remedy.
Refusal = tuple[str, str, str]

# Kind of Hydra plugin -> its names -> the extra that installs it.
PLUGINS = {
    "launcher": {"submitit_local": "launchers", "submitit_slurm": "launchers", "ray": "ray"},
    "sweeper": {"optuna": "search"},
}
# Types of OmegaConf -> what a value is not, and what to give.
TYPES = {
    "Integer": ("an integer", "a whole number"),
    "Float": ("a number", "a number"),
    "Boolean": ("true or false", "true or false"),
    "String": ("text", "text"),
}
# Mappings of the user's own keys -> how one is written.
WRITTEN = {
    "data.splits": "{train: [FILE], valid: [FILE]}",
    "data.features": "{COLUMN: WIDTH}",
    "task.train_pairs": "{DIRECTION: PAIRS}",
}


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
    others = ["basic", *PLUGINS[kind]]
    near = get_close_matches(name, others, n=1, cutoff=0.5)
    remedy = f"did you mean hydra/{kind}={near[0]}?" if near else f"choose from {', '.join(others)}"
    if name in PLUGINS[kind]:
        remedy = f"pip install 'tietrain[{PLUGINS[kind][name]}]'"
    return f"hydra/{kind}={name}", f"no installed package has the {kind} {name}", remedy


def _choice(text: str, requested: str, group: str, name: str) -> Refusal:
    listed = re.search(r"Available options in '\w+':\n((?:\s+\S+\n?)+)", text)
    return unknown_choice(group, name, listed.group(1).split() if listed else [])


def unknown_choice(group: str, name: str, options: Sequence[str] = ()) -> Refusal:
    """The refusal of a choice that a group does not have; the options are ours, unless others are given."""
    options = options or choices_of(group)
    scheme, colon, stated = name.partition(":")
    ours = (our_name(scheme) if group == "tying" else None) or CHOICES.get(group, {}).get(scheme.lower())
    near = [option for option in options if len(scheme) > 2 and scheme in option]
    near = near or get_close_matches(scheme, options, n=1)
    if ours:
        remedy = f"here it is called {group}={ours}{colon}{stated}"
    elif group == "data" and "." in name:
        remedy = f"to read a file, write data=text 'data.splits={{train: [{name}], valid: [FILE]}}'"
    elif 0 < len(near) < FEW:
        remedy = f"did you mean {' or '.join(f'{group}={option}{colon}{stated}' for option in near)}?"
    elif group == "tying":
        remedy = "`tietrain schemes` lists them"
    else:
        remedy = f"choose from {', '.join(options)}"
    return f"{group}={name}", f"{group} has no such choice", remedy


def _type(text: str, requested: str, value: str, type_name: str) -> Refusal:
    key = re.search(r"full_key: (\S+)", text) or re.search(r"Error merging override (\S+?)=", text)
    kind, wanted = TYPES.get(type_name, (f"of type {type_name.lower()}", f"a value of type {type_name.lower()}"))
    if type_name == "Integer" and value.endswith(".0"):
        wanted = f"it without a point or exponent: {value.removesuffix('.0')}"
    return f"{key.group(1)}={value}" if key else requested, f'"{value}" is not {kind}', f"give {wanted}"


def _grid(text: str, requested: str, key: str, values: str) -> Refusal:
    remedy = "add -m to run it"
    found = setting_of(key)
    if found and found.is_name:
        remedy += f", or write '{key}=\"{values}\"' if it is one name"
    elif key == "tying" or (found and (found.is_list or key != found.key)):
        remedy += f", or write {key}=[{values}] for one run with all of them"
    return f"{key}={values}", "several values are a grid", remedy


def _merge(text: str, requested: str, key: str, value: str) -> Refusal:
    if value in ("null", "None"):
        return f"{key}=null", "it needs a value", "give one, or leave it out"
    found = setting_of(key)
    if found and found.is_name:
        return f"{key}={value}", "it is not one name", f"write '{key}=\"{value}\"'"
    if key in WRITTEN:
        return f"{key}={value}", "it is not a mapping", f"write '{key}={WRITTEN[key]}'"
    if found and (found.is_list or key != found.key) and value[0] not in "[{":
        return f"{key}={value}", "it is not a list", f"write {key}=[{value}]"
    return (
        f"{key}={value}",
        "the value does not fit",
        f"`tietrain settings {found.key if found else key}` shows what fits",
    )


def _interpolation(text: str, requested: str, name: str = "") -> Refusal:
    found = re.search(r"(\S+)=\S*(\$\{[^}]*\}?)", requested)
    problem = (
        f"{found[2] if found else f'${{{name}}}'} is not a value here: settings read no environment and run nothing"
    )
    setting = f"{found[1]}={found[2]}" if found else requested or "the configuration"
    return setting, problem, "write the value itself; a shell puts it in with double quotes"


def _not_there(text: str, requested: str, key: str) -> Refusal:
    for mapping, written in WRITTEN.items():
        found = re.search(r"full_key: (\S+)", text)
        if key == mapping and found and found[1].startswith(f"{mapping}."):  # the mapping is there, and lacks this
            key = found[1]
        if key == mapping:
            return key, "no file gives it, so it must be added", f"write '+{key}={written}'"
        if key.startswith(f"{mapping}."):
            if mapping == "data.splits" and not re.search(r"(^| )(data|experiment|\+?data.format)=", requested):
                remedy = "choose data=text, tsv, jsonl or parquet first to read files"
                return key, "the generated corpus makes its own splits", remedy
            value = re.split("[ }]", written)[1].rstrip(",")
            return key, "no file names it, so it must be added", f"write +{key}={value}"
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
        chosen = re.search(r"(?:^| )(tying=\S+)", requested)
        at_scheme = f"{label}:{option}:{value[1] if value else 'VALUE'}"
        written = re.sub(rf"\b{label}\b", at_scheme, chosen[1] if chosen else f"tying={label}")
        return key, f"not every scheme of the grid is {label}", f"write the option at its scheme: {written}"
    remedy = (
        f"did you mean tying.ties.{label}.{near[0]}?" if near else f"its options are {', '.join(options) or 'none'}"
    )
    return key, f"the tie {label} has no option {option}", remedy


PRIMARY = ("-cn {0}", "there is no file {0}.yaml in the folders of -cd", "correct the name, or add -cd FOLDER")
PATH = ("-cp", "it names no folder that Python finds", "use -cd FOLDER -cn NAME")
DELETED = ("~{0}", "a setting cannot be taken away", "give it another value, or leave the word out")
ADDED_TWICE = ("+{0}", "it is there already", "write {0}=VALUE, without the plus")
# What Hydra or OmegaConf writes -> our words for it, with the groups of the pattern; if they depend on the whole text
# or on the overrides, a function of these too.
EXPLANATIONS: dict[str, Refusal | Callable[..., Refusal]] = {
    r"(?s)In '([^']+)': .*?Key '([^']+)' not in": _unknown_key,
    r"Could not (?:find|load) 'hydra/(launcher|sweeper)/([^']+)'": _plugin,
    r"Could not (?:find|load) '(\w+)/([^']+)'": _choice,
    r"Could not find '([\w/]+)/'": ("{0}=", "nothing is chosen", "`tietrain --help` lists the choices of {0}"),
    r"Value '(.*)' of type '\w+' could not be converted to (\w+)": _type,
    r"Ambiguous value for argument '([^'=]+)=([^']*)'": _grid,
    r"Could not override '([^']+)'": _not_there,
    r"An item is already at '([^']+)'": ADDED_TWICE,
    r"Unsupported interpolation type (\S+)": _interpolation,
    r"Interpolation key '(\S+)' not found": _interpolation,
    r"Recursive interpolation": _interpolation,
    r"Error merging override ~(\S+)": DELETED,
    r"Error merging override \+*([^\s=]+)=(\S+)": _merge,
    r"Cannot find primary config '([^']+)'": PRIMARY,
    r"Primary config (?:module|directory)": PATH,
}
