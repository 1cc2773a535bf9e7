"""Configurations checked before anything is built.

The messages of jsonargparse itself about wrong keys are hard to read.
"""

import inspect
import os
import sys
from collections.abc import Callable, Iterable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import yaml

from sta_tsn.errors import ConfigError, unknown

# What a configuration may hold at its top level: `training.stage_cli` reads these.
PARTS = (
    "model",
    "data",
    "trainer",
    "run_dir",
    "seed_everything",
    "keep_features",
    "threads",
    "select",
    "test",
    "videos",
    "ckpt_path",
)

MOST_VALUES = 100_000  # in a YAML file; the suite's own hold a hundred at most

# The arguments of the Trainer that training/stage_cli.py gives.
SET_BY_THE_SUITE = {
    "default_root_dir",
    "enable_model_summary",
    "num_sanity_val_steps",
    "plugins",
    "use_distributed_sampler",
}

# The arguments of the model that training/stage_cli.py links to the data.
FROM_THE_DATA = {"classes", "feature_dim", "frames", "num_joints", "pair_distance"}


def read_yaml(path: str | Path) -> dict:
    """Read a YAML file of keys and values.

    Raises:
        ConfigError: no file, not UTF-8, not valid YAML, a key twice, or nested without end.
    """
    if Path(path).is_dir():
        raise ConfigError(f"{path} is a folder; give the YAML file.")
    if not Path(path).is_file():
        raise ConfigError(f"No configuration file {path}.")
    try:
        content = yaml.load(Path(path).read_text(encoding="utf-8"), _UniqueKeys) or {}
    except RecursionError as error:
        raise ConfigError(
            f"{path} is nested too deeply for a configuration; is it the right file?"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path} holds no keys with values; is it the right file?")
    return content


class _UniqueKeys(yaml.SafeLoader):
    """Refuse a second key of the same name, which YAML lets win in silence.

    Aliases that refer to aliases may make a short file grow without end; that is refused, too.
    """

    def construct_document(self, node: yaml.Node) -> Any:
        if _num_values(node, {}) > MOST_VALUES:
            raise yaml.constructor.ConstructorError(
                None, None, f"its aliases make more than {MOST_VALUES:,} values", node.start_mark
            )
        return super().construct_document(node)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        names = [key.value for key, _ in node.value if key.value != "<<"]
        for number, (key, _) in enumerate(node.value):
            if key.value in names[:number]:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} is there twice", key.start_mark
                )
        return super().construct_mapping(node, deep)


def _num_values(node: yaml.Node, known: dict[int, int]) -> int:
    """Return how many values a node holds, each as often as aliases name it.

    Args:
        node: of a YAML file.
        known: filled with the number of every node that was counted, by its identity.
    """
    if id(node) not in known:
        known[id(node)] = MOST_VALUES + 1  # of a node that holds itself
        inner = node.value if isinstance(node, yaml.CollectionNode) else []
        number = 1
        for one in inner:
            for part in one if isinstance(one, tuple) else (one,):
                number += _num_values(part, known)
        known[id(node)] = number
    return known[id(node)]


def resolve_class(name: str, place: str, kinds: type | tuple[type, ...]) -> type:
    """Return the class of a dotted `class_path`, which may have come with a file of somebody else.

    Python's own modules and `__main__` files are refused before they are imported: no class of ours
    is there, and some of them act when they are. What is found is only looked at, never called.

    Args:
        name: such as `sta_tsn.datasets.UCF101`; a package of yours that can be imported will do.
        place: where it was written, for the message.
        kinds: classes that are taken there, and their subclasses; () where none is.

    Raises:
        ConfigError: no such class, or one of another kind.
    """
    kinds = kinds if isinstance(kinds, tuple) else (kinds,)
    wanted = " or ".join(kind.__name__ for kind in kinds)
    if not kinds:
        raise ConfigError(f"{place}: no class is taken here, class_path {name!r} must go.")
    parts = name.split(".") if isinstance(name, str) else []
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
        raise ConfigError(f"{place}: class_path {name!r} is not package.module.{wanted}.")
    if parts[0] in sys.stdlib_module_names or "__main__" in parts:
        raise ConfigError(f"{place}: class_path {name!r} is no {wanted}, it is not even imported.")
    module = ".".join(parts[:-1])
    try:
        room = import_module(module)
    except (ImportError, ValueError) as error:
        raise ConfigError(f"{place}: class_path {name!r}: {error}") from error
    if not hasattr(room, parts[-1]):
        raise unknown(
            f"class (in {place}) of {module}", parts[-1], getattr(room, "__all__", dir(room))
        )
    found = getattr(room, parts[-1])
    if not (isinstance(found, type) and issubclass(found, kinds)):
        raise ConfigError(f"{place}: class_path {name!r} is no {wanted}; name a subclass of that.")
    return found


def check_class_paths(arguments: list[str]) -> None:
    """Check every class that files and command line of `sta-tsn fit` name.

    That is done before any of them is called.

    Args:
        arguments: each as `--name=value`, `--config=FILE` among them.

    Raises:
        ConfigError: a class is not of the kind that its place takes.
    """
    sections: list[tuple[str, dict]] = []
    for argument in arguments:
        name, _, value = argument.partition("=")
        if name == "--config":
            sections.append((value, read_yaml(value)))
        else:
            sections.append((f"the command line, {name}", _as_section(name, value)))
    taken = _kinds_of_parts()
    named = dict(taken)
    for place, content in sections:
        for part, value in content.items():
            if isinstance(value, dict) and "class_path" in value and part in taken:
                named[part] = resolve_class(value["class_path"], place, taken[part])
    for place, content in sections:
        for part, value in content.items():
            kind = named.get(part)
            if part == "trainer" and isinstance(value, dict):
                _check_inner(value, kind, place)
            else:
                _check_classes(value, taken.get(part), kind, f"{place}, {part}")


def _kinds_of_parts() -> dict[str, type]:
    """Return the kind of class that each part of a configuration takes."""
    from sta_tsn.lightning import LightningDataModule, LightningModule, Trainer

    return {"model": LightningModule, "data": LightningDataModule, "trainer": Trainer}


def _as_section(name: str, value: str) -> dict:
    """Return `--data.dataset.class_path=X` as a configuration file would hold it."""
    try:
        section = yaml.safe_load(value)
    except (yaml.YAMLError, RecursionError):
        section = value
    for part in reversed(name.removeprefix("--").rstrip("+").split(".")):
        section = {part: section}
    return section


def _check_classes(value: Any, hint: Any, known: type | None, place: str) -> None:
    """Check the classes in one value of a configuration.

    Those inside it are checked by the hints of the class that takes them.

    Args:
        value: as YAML holds it.
        hint: the type hint of the argument that it is for; None where there is none.
        known: the class that the value's arguments are for where the value itself names none.
        place: for the message.
    """
    kinds = _kinds(hint)
    if isinstance(value, list):
        for one in value:
            _check_classes(one, hint, None, place)
    elif isinstance(value, dict):
        if "class_path" in value:
            known = resolve_class(value["class_path"], place, kinds)
        elif known is None and len(kinds) == 1:
            known = kinds[0]
        inner = {key: one for key, one in value.items() if key not in ("class_path", "init_args")}
        _check_inner(inner, known, place)
        if isinstance(value.get("init_args"), dict):
            _check_inner(value["init_args"], known, place)
        else:
            _check_classes(value.get("init_args"), None, None, place)
    elif isinstance(value, str) and (kinds or _takes_function(hint)):
        _check_name(value, hint, kinds, place)


def _check_inner(arguments: dict, kind: type | None, place: str) -> None:
    hints = _constructor_hints(kind) if kind else {}
    for name, value in arguments.items():
        _check_classes(value, hints.get(name), None, f"{place}, {name}")


def _check_name(value: str, hint: Any, kinds: tuple[type, ...], place: str) -> None:
    """Check text where a class or a function is taken.

    The parser would import what it names, or read it as a file.
    """
    parts = value.split(".")
    is_dotted = len(parts) > 1 and all(part.isidentifier() for part in parts)
    if str in _leaves(hint) and not (is_dotted and find_spec(parts[0])):
        return
    if is_dotted:
        resolve_class(value, place, kinds)
    elif len(parts) > 1 or not value.isidentifier():
        raise ConfigError(f"{place}: {value!r} is not the name of a class; write class_path there.")


def _kinds(hint: Any) -> tuple[type, ...]:
    """Return the classes that a type hint takes, plain values and paths aside."""
    found = []
    for leaf in _leaves(hint):
        is_class = isinstance(leaf, type) and leaf.__module__ != "builtins"
        if is_class and not issubclass(leaf, os.PathLike):
            found.append(leaf)
    return tuple(found)


def _takes_function(hint: Any) -> bool:
    return Callable in _leaves(hint)


def _leaves(hint: Any) -> list[Any]:
    """Return the types that unions and containers of a hint are made of.

    Of a function that is `Callable`, of choices `Literal`, of a class itself `type`.
    """
    if get_origin(hint) in (Callable, type, Literal):
        return [get_origin(hint)]
    inner = get_args(hint)
    if not inner:
        return [hint]
    leaves = []
    for one in inner:
        leaves.extend(_leaves(one))
    return leaves


def check_keys(names: Iterable[str], valid: Iterable[str], prefix: str, place: str) -> None:
    """Raise for the first name that is not valid; `prefix` is `model.`, `data.`, ..."""
    valid = sorted(set(valid) - {"self", "args", "kwargs"})
    for name in names:
        if name not in valid:
            raise unknown(f"key (in {place})", prefix + name, [prefix + one for one in valid])


def parameters(kind: type) -> list[str]:
    """Return the constructor arguments of a class and its parents."""
    names = []
    for parent in kind.__mro__:
        for parameter in inspect.signature(parent.__init__).parameters.values():
            if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                names.append(parameter.name)
    return names


def classes_of(arguments: list[str]) -> dict[str, type | None]:
    """Return the classes of `model` and `data` that the files of a command line name.

    Args:
        arguments: of `sta-tsn fit`, each as `--name=value`.

    Raises:
        ConfigError: a file cannot be read, or there is no such class.
    """
    files: dict[str, dict] = {}
    for argument in arguments:
        name, _, value = argument.partition("=")
        if name == "--config":
            files[value] = read_yaml(value)
    check_class_paths([f"--config={file}" for file in files])
    return {part: _last_class(part, files) for part in ("model", "data")}


def check_arguments(
    arguments: list[str], place: str = "the command line"
) -> dict[str, type | None]:
    """Check the command line of `sta-tsn fit`: every key of its YAML files and every override.

    Args:
        arguments: each as `--name=value`.
        place: where they were written.

    Returns:
        The classes of `model` and `data` that the files name.

    Raises:
        ConfigError: naming the key, the place, and the nearest valid keys, or the value that is not
            of the key's type.
    """
    files: dict[str, dict] = {}
    overrides: list[tuple[str, str]] = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not (name.startswith("--") and equals):
            raise ConfigError(
                f"{place}, {argument!r}: no option of sta-tsn fit; write --name=value."
            )
        if name == "--config":
            files[value] = read_yaml(value)
        else:
            overrides.append((name.removeprefix("--").rstrip("+"), value))
    check_class_paths(arguments)
    classes = {part: _last_class(part, files) for part in ("model", "data")}
    for file, content in files.items():
        _check_file(content, classes, file)
    dataset = _last_dataset(files)
    for key, value in overrides:
        part, _, rest = key.partition(".")
        name, _, inner = rest.removeprefix("init_args.").partition(".")
        _check_part(part, [name] if rest else [], classes, place)
        if (part, name) == ("data", "dataset") and inner.startswith("init_args.") and dataset:
            argument = inner.removeprefix("init_args.")
            check_keys([argument], parameters(dataset), "data.dataset.init_args.", place)
        _check_value(key, value, classes, place)
    return classes


def _check_value(key: str, value: Any, classes: dict[str, type | None], place: str) -> None:
    """Raise where a value does not fit the type of its key.

    The constructor of `model`, `data` or `trainer` names the type of `model.x` and so on.
    """
    from jsonargparse import ArgumentError, ArgumentParser

    from sta_tsn.lightning import Trainer

    part, _, name = key.replace(".init_args.", ".").partition(".")
    kind = Trainer if part == "trainer" else classes.get(part)
    hints = {} if kind is None else _constructor_hints(kind)
    if name not in hints:
        return
    if _kinds(hints[name]) and str not in _leaves(hints[name]):
        return  # a class, whose arguments may follow
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--value", type=hints[name])
    try:
        parser.parse_args([f"--value={value}"])
    except ArgumentError as error:
        reason = " ".join(str(error).split()).rpartition('"value": ')[2]
        raise ConfigError(f"{place}: {key}={value} does not fit: {reason}") from error


def _constructor_hints(kind: type) -> dict[str, Any]:
    """Return the type hints of the constructor's arguments, those of parents included."""
    hints: dict[str, Any] = {}
    for parent in reversed(kind.__mro__):
        if "__init__" in vars(parent) and parent is not object:
            try:
                hints.update(get_type_hints(parent.__init__))
            except NameError:  # names that only type checkers import
                continue
    return hints


def _check_file(content: dict, classes: dict[str, type | None], place: str) -> None:
    for part, section in content.items():
        section = section if isinstance(section, dict) else {}
        arguments = _arguments_of(section, f"{place}: {part}")
        names = [name for name in (*section, *arguments) if name != "init_args"]
        _check_part(part, names, classes, place)
        given = section if part == "trainer" else arguments
        for name, value in given.items():
            values = value if isinstance(value, list) else [value]
            # Classes are left to the parser.
            if all(isinstance(one, int | float | str) for one in values):
                _check_value(f"{part}.{name}", value, classes, place)
        if part == "data" and arguments.get("dataset"):
            _check_dataset(arguments["dataset"], place)


def _check_dataset(dataset: Any, place: str) -> None:
    keys = dataset if isinstance(dataset, dict) else {}
    check_keys(keys, ("class_path", "init_args"), "data.dataset.", place)
    if "class_path" not in keys:
        raise ConfigError(f"{place}: data.init_args.dataset names no class_path.")
    kind = resolve_class(dataset["class_path"], place, object)
    arguments = _arguments_of(dataset, f"{place}: data.dataset")
    check_keys(arguments, parameters(kind), "data.dataset.", place)


def _arguments_of(section: dict, place: str) -> dict:
    """Return the `init_args` of a class in a configuration, {} where it has none.

    Raises:
        ConfigError: they are a list or a plain value.
    """
    arguments = section.get("init_args") or {}
    if not isinstance(arguments, dict):
        raise ConfigError(f"{place}.init_args is {arguments!r}; write names and values there.")
    return arguments


def _check_part(
    part: str, names: Iterable[str], classes: dict[str, type | None], place: str
) -> None:
    check_keys([part], PARTS, "", place)
    if part == "trainer":
        from sta_tsn.lightning import Trainer

        fixed = SET_BY_THE_SUITE & set(names)
        if fixed:
            raise ConfigError(
                f"{place}: trainer.{min(fixed)} is set by the suite itself "
                "(src/sta_tsn/training/stage_cli.py); leave it out."
            )
        check_keys(names, set(parameters(Trainer)) - SET_BY_THE_SUITE, "trainer.", place)
    elif classes.get(part):
        linked = FROM_THE_DATA & set(names)
        if part == "model" and linked:
            raise ConfigError(
                f"{place}: model.{min(linked)} follows from the data (data.{min(linked)}); "
                "leave it out."
            )
        check_keys(names, ["class_path", *parameters(classes[part])], f"{part}.", place)


def _last_dataset(files: dict[str, dict]) -> type | None:
    """Return the class that the last configuration file names for `data.init_args.dataset`."""
    found = None
    for place, content in files.items():
        section = content.get("data")
        arguments = section.get("init_args") if isinstance(section, dict) else None
        dataset = arguments.get("dataset") if isinstance(arguments, dict) else None
        if isinstance(dataset, dict) and "class_path" in dataset:
            found = (dataset["class_path"], place)
    return resolve_class(*found, object) if found else None


def _last_class(part: str, files: dict[str, dict]) -> type | None:
    """Return the class that the last configuration file names for `model` or `data`."""
    found = None
    for place, content in files.items():
        section = content.get(part)
        if isinstance(section, dict) and "class_path" in section:
            found = (section["class_path"], place)
    return resolve_class(*found, object) if found else None
