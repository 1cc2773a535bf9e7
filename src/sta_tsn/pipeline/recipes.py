"""The suite's recipes: `experiments/` of a checkout, and their copy in the installed package."""

import shutil
from pathlib import Path

from sta_tsn.errors import UserError

# In a checkout these are links to the folders of `experiments/`; a wheel holds the files.
PACKAGED = Path(__file__).parent.parent / "recipes"
IN_PLACE = "experiments"


def default_experiments() -> str:
    """Return `experiments` where the working folder has recipes there, else the package's own."""
    return IN_PLACE if Path(IN_PLACE, "datasets").is_dir() else str(PACKAGED)


def copy_recipes(folder: str) -> None:
    """Copy the package's recipes to a new folder, and say what to do with them.

    Raises:
        UserError: the folder is there already, and holds something.
    """
    target = Path(folder)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise UserError(f"{target.resolve()} is there already; name a folder that is not.")
    for place in sorted(PACKAGED.iterdir()):
        shutil.copytree(place, target / place.name)
    use = "" if target == Path(IN_PLACE) else f" --experiments {target}"
    print(f"Recipes: {target.resolve()}. Edit them, then: sta-tsn train{use} ...")
