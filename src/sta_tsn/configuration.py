"""Configurations checked before anything is built: jsonargparse's own messages about wrong keys are hard to read."""

import inspect
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from sta_tsn.errors import ConfigError, unknown

SET_BY_THE_SUITE = {  # of the Trainer's arguments: training/stage_cli.py gives these
    "default_root_dir", "enable_model_summary", "logger", "num_sanity_val_steps", "plugins", "use_distributed_sampler",
}  # fmt: skip

FROM_THE_DATA = {
    "classes",
    "frames",
    "num_joints",
    "pair_distance",
}  # of the model's arguments: training/stage_cli.py links these


def read_yaml(path: str | Path) -> dict:
    if Path(path).is_dir():
        raise ConfigError(f"{path} is a folder; give the YAML file.")
    if not Path(path).is_file():
        raise ConfigError(f"No configuration file {path}.")
    try:
        return yaml.load(Path(path).read_text(encoding="utf-8"), _UniqueKeys) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from error


class _UniqueKeys(yaml.SafeLoader):
    """YAML lets a second key of the same name win in silence; here it is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        names = [key.value for key, _ in node.value if key.value != "<<"]
        for number, (key, _) in enumerate(node.value):
            if key.value in names[:number]:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} is there twice", key.start_mark
                )
        return super().construct_mapping(node, deep)


def resolve_class(name: str, place: str) -> type:
    """The class of a dotted `class_path`; `place` says where it was written."""
    module, _, attribute = name.rpartition(".")
    try:
        room = import_module(module)
    except (ImportError, ValueError) as error:
        raise ConfigError(f"{place}: class_path {name!r}: {error}") from error
    if not hasattr(room, attribute):
        raise unknown(
            f"class (in {place}) of {module}", attribute, getattr(room, "__all__", dir(room))
        )
    return getattr(room, attribute)


def check_keys(names: Iterable[str], valid: Iterable[str], prefix: str, place: str) -> None:
    """Raise for the first name that is none of the valid ones; `prefix` is `model.`, `data.`, ..."""
    valid = sorted(set(valid) - {"self", "args", "kwargs"})
    for name in names:
        if name not in valid:
            raise unknown(f"key (in {place})", prefix + name, [prefix + one for one in valid])


def parameters(kind: type) -> list[str]:
    """Constructor arguments of a class and its parents."""
    found = [
        parameter
        for parent in kind.__mro__
        for parameter in inspect.signature(parent.__init__).parameters.values()
    ]
    return [
        parameter.name
        for parameter in found
        if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    ]


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
        ConfigError: naming the key, the place, and the nearest valid keys, or the value that is not of the key's type.
    """
    files: dict[str, dict] = {}
    overrides: list[tuple[str, str]] = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not (name.startswith("--") and equals):
            raise ConfigError(
                f"{place}, {argument!r}: sta-tsn fit takes every option as --name=value."
            )
        if name == "--config":
            files[value] = read_yaml(value)
        else:
            overrides.append((name.removeprefix("--"), value))
    classes = {part: _last_class(part, files) for part in ("model", "data")}
    for file, content in files.items():
        _check_file(content, classes, file)
    dataset = _last_dataset(files)
    for key, value in overrides:
        part, _, rest = key.partition(".")
        name, _, inner = rest.removeprefix("init_args.").partition(".")
        _check_part(part, [name] if rest else [], classes, place)
        if (part, name) == ("data", "dataset") and inner.startswith("init_args.") and dataset:
            check_keys(
                [inner.removeprefix("init_args.")],
                parameters(dataset),
                "data.dataset.init_args.",
                place,
            )
        _check_value(key, value, classes, place)
    return classes


def _check_value(key: str, value: Any, classes: dict[str, type | None], place: str) -> None:
    """Raise where a value does not fit the type that the constructor names for `model.x`, `data.x` or `trainer.x`."""
    from jsonargparse import ArgumentError, ArgumentParser
    from pytorch_lightning import Trainer

    part, _, name = key.replace(".init_args.", ".").partition(".")
    kind = Trainer if part == "trainer" else classes.get(part)
    hints = (
        {}
        if kind is None
        else {
            one: hint
            for parent in reversed(kind.__mro__)
            for one, hint in _type_hints(parent).items()
        }
    )
    if name not in hints:
        return
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--value", type=hints[name])
    try:
        parser.parse_args([f"--value={value}"])
    except ArgumentError as error:
        reason = " ".join(str(error).split()).rpartition('"value": ')[2]
        raise ConfigError(f"{place}: {key}={value} does not fit: {reason}") from error


def _type_hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind.__init__) if "__init__" in vars(kind) and kind is not object else {}


def _check_file(content: dict, classes: dict[str, type | None], place: str) -> None:
    for part, section in content.items():
        section = section if isinstance(section, dict) else {}
        _check_part(
            part,
            {**section, **(section.get("init_args") or {})}.keys() - {"init_args"},
            classes,
            place,
        )
        for name, value in (
            section if part == "trainer" else section.get("init_args") or {}
        ).items():
            plain = value if isinstance(value, list) else [value]
            if all(
                isinstance(one, int | float | str) for one in plain
            ):  # classes are left to the parser
                _check_value(f"{part}.{name}", value, classes, place)
        dataset = (section.get("init_args") or {}).get("dataset") if part == "data" else None
        if dataset:
            check_keys(dataset, ("class_path", "init_args"), "data.dataset.", place)
            kind = resolve_class(dataset.get("class_path", ""), place)
            check_keys(dataset.get("init_args") or {}, parameters(kind), "data.dataset.", place)


def _check_part(
    part: str, names: Iterable[str], classes: dict[str, type | None], place: str
) -> None:
    check_keys(
        [part],
        (
            "model",
            "data",
            "trainer",
            "run_dir",
            "seed_everything",
            "keep_features",
            "select",
            "test",
            "videos",
        ),
        "",
        place,
    )
    if part == "trainer":
        from pytorch_lightning import Trainer

        names = list(names)
        if fixed := SET_BY_THE_SUITE & set(names):
            raise ConfigError(
                f"{place}: trainer.{min(fixed)} is set by the suite itself (src/sta_tsn/training/stage_cli.py); leave it out."
            )
        check_keys(names, set(parameters(Trainer)) - SET_BY_THE_SUITE, "trainer.", place)
    elif classes.get(part):
        if part == "model" and (linked := FROM_THE_DATA & set(names)):
            raise ConfigError(
                f"{place}: model.{min(linked)} follows from the data (data.{min(linked)}); leave it out."
            )
        check_keys(names, ["class_path", *parameters(classes[part])], f"{part}.", place)


def _last_dataset(files: dict[str, dict]) -> type | None:
    """The class that the last configuration file names for `data.init_args.dataset`."""
    found = [
        (section["class_path"], place)
        for place, content in files.items()
        if "class_path"
        in (section := ((content.get("data") or {}).get("init_args") or {}).get("dataset") or {})
    ]
    return resolve_class(*found[-1]) if found else None


def _last_class(part: str, files: dict[str, dict]) -> type | None:
    """The class that the last configuration file names for `model` or `data`."""
    found = [
        (content[part]["class_path"], place)
        for place, content in files.items()
        if "class_path" in (content.get(part) or {})
    ]
    return resolve_class(*found[-1]) if found else None
