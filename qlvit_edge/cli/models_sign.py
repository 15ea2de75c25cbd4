"""`qlvit-edge models keys`, `sign` and `verify`: bundles, and who vouches for them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from qlvit_edge.cli.console import next_step, shell_word
from qlvit_edge.cli.delivery_options import json_option, keys_option, trusted
from qlvit_edge.cli.extras import require
from qlvit_edge.cli.options import Number
from qlvit_edge.cli.suggestions import SuggestingGroup
from qlvit_edge.text import plain

if TYPE_CHECKING:
    from qlvit_edge.delivery.bundle import Bundle
    from qlvit_edge.delivery.manifest import Target

UNLOCKING_VARIABLE = "QLVIT_EDGE_KEY_PASSWORD"


@click.group("keys", cls=SuggestingGroup)
def keys_group() -> None:
    """Make the keys that models are signed with.

    \b
    Example:
      qlvit-edge models keys new lab
    """


@keys_group.command("new")
@click.argument("name")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(),
    help="Folder for both files  [default: the working folder]",
)
@click.option("--encrypt", is_flag=True, help="Ask for a password that the private key then needs.")
def new_keys(name: str, out: Path, encrypt: bool) -> None:
    """Make an Ed25519 key pair: NAME.key, which signs, and NAME.pem, which devices trust.

    NAME.key is readable by its owner only; keep it where models are signed, and no copy on a
    device. NAME.pem is no secret: whoever can write it into a device's folder of keys decides what
    the device believes. Files that are there are not replaced.

    \b
    Example:
      qlvit-edge models keys new lab --out ~/keys --encrypt
      sudo install -D -m 644 lab.pem /etc/qlvit-edge/keys/lab.pem
    """
    require("sign", "cryptography")
    from qlvit_edge.delivery.keys import new_pair

    password = None
    if encrypt:
        password = os.environ.get(UNLOCKING_VARIABLE) or click.prompt(
            "Password of the private key", hide_input=True, confirmation_prompt=True, err=True
        )
    private, public = new_pair(name, out, password)
    click.echo(plain(f"private key: {private} (mode 0600{', encrypted' if password else ''})"))
    click.echo(plain(f"public key: {public}"))
    next_step(f"copy {shell_word(public)} into /etc/qlvit-edge/keys on each device")


@click.command("sign")
@click.argument("model")
@click.option(
    "--key", required=True, type=click.Path(path_type=Path), help="Private key, NAME.key."
)
@click.option("--version", required=True, help="Of this model: 1.4.0, say; devices refuse older.")
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="The bundle to write, FILE.qlvit."
)
@click.option("--name", help="Of the model; its versions are compared  [default: as its file says]")
@click.option(
    "--target",
    "targets",
    multiple=True,
    type=click.Choice(("x86_64", "aarch64", "armv7l", "edgetpu")),
    help="What it may be installed on; can be given several times  [default: every processor; "
    "of a chain: edgetpu]",
)
@click.option(
    "--budget",
    type=Number(min=0, min_open=True, max=600_000),
    metavar="MS",
    help="Milliseconds of an inference on the device, which one in ten may exceed.",
)
@json_option
def sign_model(
    model: str,
    key: Path,
    version: str,
    out: Path,
    name: str | None,
    targets: tuple[str, ...],
    budget: float | None,
    as_json: bool,
) -> None:
    """Make a bundle of MODEL: the file, a manifest, and a signature over it.

    MODEL is a .tflite file, a chain, or the name of a bundled model. It is run first: its golden
    pairs must hold here, and its answers to the bundled crops go into the manifest, for devices to
    compare theirs with. An encrypted key asks for its password; QLVIT_EDGE_KEY_PASSWORD says it
    for scripts.

    \b
    Example:
      qlvit-edge models sign wbc.tflite --key lab.key --version 1.4.0 --out wbc-1.4.0.qlvit
      qlvit-edge models sign blood-nano --key lab.key --version 1.0 --budget 40 --out b.qlvit
    """
    require("sign", "cryptography")
    from qlvit_edge.bundled import resolve_model
    from qlvit_edge.delivery.bundle import SUFFIX
    from qlvit_edge.delivery.keys import is_encrypted, private_key
    from qlvit_edge.delivery.signing import Naming, sign
    from qlvit_edge.errors import DataError
    from qlvit_edge.files import (
        ensure_writable,
        json_text,
        require_other,
        require_target,
        write_bytes,
    )

    path = resolve_model(model)
    if out.suffix != SUFFIX:
        raise DataError(out, "is no name for a bundle", f"let it end in {SUFFIX}")
    require_target(out)
    require_other(out, path, key)
    ensure_writable(out.absolute().parent)
    password = None
    if is_encrypted(key):
        password = os.environ.get(UNLOCKING_VARIABLE) or click.prompt(
            f"Password of {key}", hide_input=True, err=True
        )
    naming = Naming(version, name, cast("tuple[Target, ...]", targets), budget)
    manifest, content = sign(path, private_key(key, password), naming)
    write_bytes(out, content)
    if as_json:
        said = {"file": str(out), "bytes": len(content), **manifest.model_dump()}
        click.echo(json_text(said))
        return
    click.echo(plain(f"{out}: {manifest.title}, {len(content):,} bytes"))
    click.echo(f"for {', '.join(manifest.targets)}; model's SHA-256 {manifest.sha256}")
    next_step(f"qlvit-edge models install {shell_word(out)}", "on the device")


@click.command("verify")
@click.argument("bundle", type=click.Path(path_type=Path))
@keys_option
@json_option
def verify_bundle(bundle: Path, keys: Path | None, as_json: bool) -> None:
    """Say whether BUNDLE is whole and signed by a trusted key, and what it holds.

    Nothing is run and nothing is written.

    \b
    Example:
      qlvit-edge models verify wbc-1.4.0.qlvit --keys keys/
    """
    from qlvit_edge.delivery.bundle import read_bundle
    from qlvit_edge.files import json_text

    found = read_bundle(bundle, trusted(keys))
    if as_json:
        click.echo(
            json_text({"file": str(bundle), "key": found.key, **found.manifest.model_dump()})
        )
        return
    for line in _lines(bundle, found):
        click.echo(plain(line))


def _lines(path: Path, found: Bundle) -> list[str]:
    manifest = found.manifest
    budget = "none" if manifest.budget_ms is None else f"{manifest.budget_ms:g} ms"
    return [
        f"{path}: {manifest.title}, signed by {found.key} on {manifest.signed}",
        f"for {', '.join(manifest.targets)}; budget of an inference: {budget}",
        f"model: {manifest.kind}, {manifest.bytes:,} bytes, SHA-256 {manifest.sha256}",
    ]
