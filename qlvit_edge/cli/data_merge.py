"""`qlvit-edge data merge`: folders of several microscopes as one manifest."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qlvit_edge.cli.console import next_step, plain_table, shell_word, table_console
from qlvit_edge.text import counted

if TYPE_CHECKING:
    from qlvit_edge.data.manifest import Manifest


@click.command("merge")
@click.argument("sets", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Manifest to write.")
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    help="Folder that the paths in SETS begin at  [default: the folder of SETS]",
)
def command(sets: Path, out: Path, root: Path | None) -> None:
    """Bring folders of several microscopes to common classes.

    SETS is a TOML file: each folder with its microscope, what its class folders stand for, and
    how to know which images come from one photograph, slide or patient. The manifest names every
    image with these and its SHA-256; nothing is copied. It can be given wherever a folder of
    classes can: to `data check`, `data split`, `train`, `validate` and the others.

    \b
    Example:
      qlvit-edge data merge blood.toml --root /data --out blood.manifest
      qlvit-edge data split blood.manifest --out blood-split.json
    """
    from qlvit_edge.cli.progress import progress_bar
    from qlvit_edge.data.manifest import write_manifest
    from qlvit_edge.data.merge import choose, merge
    from qlvit_edge.data.sets import read_sets
    from qlvit_edge.files import ensure_writable, require_other, require_target

    plan = read_sets(sets)
    root = sets.parent if root is None else root
    require_other(out, sets, *(root / one.groups for one in plan.folder if one.groups))
    chosen, notes = choose(plan, root)
    require_target(out)
    ensure_writable(out.absolute().parent)
    with progress_bar("reading", len(chosen)) as advance:
        manifest = merge(plan, chosen, out, advance)
    write_manifest(out, manifest)
    _print(manifest)
    for note in notes:
        click.echo(note)
    click.echo(f"wrote {out}: {counted(len(manifest.images), 'image')}")
    split = out.with_name(f"{out.stem}-split.json")
    next_step(f"qlvit-edge data split {shell_word(out)} --out {shell_word(split)}")


def _print(manifest: Manifest) -> None:
    """Print images, and sources where they are known, by class and microscope."""
    domains = sorted({image.domain for image in manifest.images})
    images: defaultdict[tuple[str, str], int] = defaultdict(int)
    sources: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
    for image in manifest.images:
        images[image.class_name, image.domain] += 1
        if image.source:
            sources[image.class_name, image.domain].add(image.source)
    table = plain_table("Images (sources)", "class", *(f"{domain}>" for domain in domains))
    for name in (*manifest.classes, *manifest.unknown):
        cells = []
        for domain in domains:
            known = len(sources[name, domain])
            cell = f"{images[name, domain]:,}" + (f" ({known:,})" if known else "")
            cells.append(cell if images[name, domain] else "")
        table.add_row(name if name in manifest.classes else f"{name} (no class)", *cells)
    table_console().print(table)
