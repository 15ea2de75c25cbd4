"""Options that every training on a budget has, however many networks and images it is about."""

from __future__ import annotations

import argparse

from contest.budget import Budget


def add_arguments(
    parser: argparse.ArgumentParser,
    *,
    seeds: str,
    images: int,
    minutes: float,
    side: int | None,
    most: int,
    scored: int,
) -> None:
    """Add them with the defaults of one benchmark.

    Args:
        parser: of its command line.
        seeds: of trainings, separated by commas.
        images: of each training; 0: no limit.
        minutes: of processor time of each training.
        side: of the input, in pixels; None: that of the size.
        most: training images per class; 0: all.
        scored: test images per class; 0: all.
    """
    parser.add_argument("--seeds", default=seeds, help=f"of trainings  [{seeds}]")
    parser.add_argument(
        "--images", type=int, default=images, help=f"of each training  [{images or 'no limit'}]"
    )
    parser.add_argument(
        "--minutes", type=float, default=minutes, help=f"of processor time of each  [{minutes:g}]"
    )
    parser.add_argument("--batch", type=int, default=32, help="images in one step  [32]")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="cpu")
    own = "the size's" if side is None else side
    parser.add_argument("--side", type=int, default=side, help=f"of the input, in pixels  [{own}]")
    parser.add_argument(
        "--most", type=int, default=most, help=f"training images per class  [{most or 'all'}]"
    )
    parser.add_argument(
        "--scored", type=int, default=scored, help=f"test images per class  [{scored or 'all'}]"
    )


def budget_of(options: argparse.Namespace) -> Budget:
    """Return what each training may cost."""
    return Budget(options.images, options.minutes, options.batch)


def seeds_of(options: argparse.Namespace) -> list[int]:
    """Return the seeds that were asked for."""
    return [int(seed) for seed in options.seeds.split(",")]
