"""The command line of `sta-tsn fit` in the forms that users of LightningCLI type."""

from sta_tsn.configuration import resolve_class

SHORT_NAMES = {"-c": "--config", "-h": "--help"}
SHOWN_AND_DONE = ("--help", "--print_config")


def as_assignments(arguments: list[str]) -> list[str]:
    """Return `--name value` as `--name=value`, and short names as long ones.

    What cannot be told so stays as it is, for whoever checks it.

    Args:
        arguments: as typed.
    """
    found = []
    left = [SHORT_NAMES.get(argument, argument) for argument in arguments]
    while left:
        argument = left.pop(0)
        takes_value = argument.startswith("--") and "=" not in argument
        is_followed = bool(left) and not left[0].startswith("--")
        if takes_value and is_followed and argument not in SHOWN_AND_DONE:
            argument = f"{argument}={left.pop(0)}"
        found.append(argument)
    return found


def only_shows(arguments: list[str]) -> bool:
    """Return whether the command asks for help or for the composed configuration, and ends so.

    Args:
        arguments: as `as_assignments` returns them.

    Raises:
        ConfigError: help is wanted of a class that is not there.
    """
    shows = False
    for argument in arguments:
        name, _, value = argument.partition("=")
        if name in SHOWN_AND_DONE or name.endswith(".help"):
            shows = True
        if name.endswith(".help") and "." in value:
            resolve_class(value, name, object)
    return shows
