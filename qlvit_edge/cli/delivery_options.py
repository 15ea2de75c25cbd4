"""Options of the commands that deliver models, and what `installed` means to the others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from qlvit_edge.cli.extras import require

if TYPE_CHECKING:
    from qlvit_edge.delivery.keys import TrustedKey
    from qlvit_edge.delivery.store import Store

F = TypeVar("F", bound=Callable[..., Any])

keys_option = click.option(
    "--keys",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of the public keys that this device trusts, NAME.pem  [default: QLVIT_EDGE_KEYS, "
    "else /etc/qlvit-edge/keys]",
)

store_option = click.option(
    "--store",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder that holds the installed models  [default: QLVIT_EDGE_STORE, else "
    "/var/lib/qlvit-edge/models]",
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")


def trusted(keys: Path | None) -> list[TrustedKey]:
    """Return the trusted keys of ``--keys``.

    Raises:
        MissingExtraError: what verifies signatures is not installed.
        DataError: there are none, or they cannot be read.
    """
    require("sign", "cryptography")
    from qlvit_edge.delivery.keys import keys_folder, trusted_keys

    return trusted_keys(keys_folder(keys))


def store_of(store: Path | None) -> Store:
    """Return the store of ``--store``."""
    from qlvit_edge.delivery.store import Store, store_folder

    return Store(store_folder(store))


def means_installed(model: str) -> bool:
    """Tell whether a model's name means the one that is installed on this device.

    Raises:
        ModelFileError: it is the name of something here, too.
    """
    from qlvit_edge.delivery.store import INSTALLED
    from qlvit_edge.errors import ModelFileError

    if model != INSTALLED:
        return False
    if Path(model).exists():
        finding = "means the model installed on this device, and lies here, too"
        remedy = f"write ./{model} for what lies here, or run this in another folder"
        raise ModelFileError(model, finding, remedy)
    return True


def model_path(model: str) -> str:
    """Return what a command is to open for a model's name: `installed` is a file of the store.

    Nothing is counted or changed, see `qlvit_edge.delivery.store.active_model`.

    Raises:
        QLViTEdgeError: nothing is installed, or it cannot be used.
    """
    if not means_installed(model):
        return model
    require("sign", "cryptography")
    from qlvit_edge.delivery.store import active_model

    return str(active_model())
