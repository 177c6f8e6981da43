"""Configuration files of the user (`-cd`), looked at before Hydra reads one: YAML of bounded size that holds keys and values."""

import math
from collections.abc import Collection, Iterator
from pathlib import Path

import yaml

from tietrain.errors import SettingsError, first_line

# A configuration has some kilobytes. Aliases can make billions of values of a few bytes.
MAX_BYTES, MAX_VALUES = 1_000_000, 100_000


def check_user_file(path: Path, texts: Collection[str]) -> None:
    """SettingsError unless a file is text with keys and values, few enough when each alias is written out.

    Names are to be read as they are written: `no` is false in YAML.

    Args:
        texts: keys, without their sections, of settings that hold names.
    Raises:
        OSError: it cannot be read.
    """
    problem = ""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        node = yaml.compose(content[:MAX_BYTES].decode(), yaml.SafeLoader)
        if len(content) > MAX_BYTES:
            problem = f"it has more than {MAX_BYTES:,} bytes"
        elif node is not None and not isinstance(node, yaml.MappingNode):
            problem = "it holds no keys with values"
        elif node is not None and _n_values(node, {}) > MAX_VALUES:
            problem = f"with its aliases written out it has more than {MAX_VALUES:,} values"
        for name in () if problem or node is None else _misread(node, texts):
            where = f"{path}, line {name.start_mark.line + 1}"
            problem = f"YAML reads {name.value} as {yaml.safe_load(name.value)}"
            raise SettingsError(where, problem, f"write the name in quotes: '{name.value}'")
    except (UnicodeDecodeError, yaml.reader.ReaderError) as e:
        problem = f"it is not text in UTF-8 ({first_line(e)})"
    except (yaml.YAMLError, ValueError):
        return  # Hydra finds it too, and names the line
    except RecursionError:
        problem = "its values lie too deep in one another"
    if problem:
        raise SettingsError(str(path), problem, "write lines such as `optim: {lr: 0.001}`")


def _misread(node: yaml.Node, texts: Collection[str], is_name: bool = False) -> Iterator[yaml.ScalarNode]:
    """The names that YAML reads as something that is not written so. is_name: whether the node holds names."""
    if isinstance(node, yaml.SequenceNode):
        for part in node.value:
            yield from _misread(part, texts, is_name)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from _misread(key, texts, is_name)
            yield from _misread(value, texts, is_name or key.value in texts)
    elif is_name and node.style is None and node.tag.endswith((":bool", ":int", ":float")):
        yield from [node] if str(yaml.safe_load(node.value)) != node.value else []


def _n_values(node: yaml.Node, known: dict[int, float]) -> float:
    """How many values a node holds; infinite if it holds itself."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in known:
        known[id(node)] = math.inf
        parts = node.value if isinstance(node, yaml.SequenceNode) else [value for _, value in node.value]
        known[id(node)] = 1 + sum(_n_values(part, known) for part in parts)
    return known[id(node)]
