"""What a run is called and how its settings are written, the same in folders, tables and W&B."""

import re
from pathlib import Path
from typing import Any

ATTENTION_FILE = "attention.json"  # what was measured of a stage-two run's attention

LAYOUT = re.compile(
    r"(?P<dataset>[^/]+)/split(?P<split>\d+)/(?P<model>[^/]+)/(?P<modality>[^/]+)/seed(?P<seed>\d+)/(?P<stage>[^/]+)$"
)  # fmt: skip


def run_identity(folder: Path) -> dict[str, str | int]:
    """Dataset, split, model, modality, seed and stage of `.../<dataset>/split<k>/<model>/<modality>/seed<s>/<stage>`; {} elsewhere.

    Example:
        >>> run_identity(Path("runs/demo/split1/cnn/rgb/seed0/backbone"))["model"]
        'cnn'
    """
    found = LAYOUT.search(folder.absolute().as_posix())
    return (
        {
            name: int(value) if name in ("split", "seed") else value
            for name, value in found.groupdict().items()
        }
        if found
        else {}
    )


def run_name(folder: Path) -> str:
    """The part of the path that says what the run is: from the dataset on, else the last three folders.

    Example:
        >>> run_name(Path("/data/runs/demo/split1/cnn/rgb/seed0/backbone"))
        'demo/split1/cnn/rgb/seed0/backbone'
        >>> run_name(Path("runs/sweeps/lr/trial-001"))
        'sweeps/lr/trial-001'
    """
    return "/".join(folder.absolute().parts[-6 if run_identity(folder) else -3 :])


def flat_settings(config: dict) -> dict[str, Any]:
    """A configuration as `sta-tsn fit` takes it, one value a name; lists become tuples, which pandas can compare.

    Example:
        >>> flat_settings({"model": {"class_path": "sta_tsn.tasks.X", "init_args": {"lr": 0.1, "lr_milestones": [3]}}})
        {'model.class_path': 'sta_tsn.tasks.X', 'model.lr': 0.1, 'model.lr_milestones': (3,)}
    """
    flat: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(value, dict):
            inner = flat_settings(value)
            flat |= (
                inner
                if name == "init_args"
                else {f"{name}.{key}": setting for key, setting in inner.items()}
            )
        else:
            flat[name] = tuple(value) if isinstance(value, list) else value
    return flat
