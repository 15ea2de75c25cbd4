"""What a command says when an optional dependency is missing."""

from __future__ import annotations

import click
import pytest

from qlvit_edge.cli.extras import require
from qlvit_edge.errors import MissingExtraError


def test_installed_modules_are_accepted_without_being_imported() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from qlvit_edge.cli.extras import require; "
        "require('base', 'numpy'); print('numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_missing_module_names_command_module_and_extra() -> None:
    context = click.Context(click.Command("train"), info_name="train")
    with context, pytest.raises(MissingExtraError) as caught:
        require("train", "numpy", "no_such_module_xyz")
    assert str(caught.value) == (
        "train: needs no_such_module_xyz, which is not installed; pip install 'qlvit-edge[train]'"
    )
    assert caught.value.exit_code == 2


def test_several_missing_modules_are_named_together() -> None:
    with pytest.raises(MissingExtraError, match="needs no_such_a and no_such_b, which are not"):
        require("plots", "no_such_a", "no_such_b")
