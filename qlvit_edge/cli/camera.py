"""`qlvit-edge camera list`, `camera test` and `camera calibrate`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from qlvit_edge.cli.console import next_step, plain_table, shell_word, table_console
from qlvit_edge.cli.options import Number, Whole
from qlvit_edge.cli.suggestions import SuggestingGroup

if TYPE_CHECKING:
    from qlvit_edge.camera.base import Camera
    from qlvit_edge.camera.calibration import CameraCalibration, Light, PixelScale
    from qlvit_edge.microscope.camera_check import CameraCheck


@click.group(cls=SuggestingGroup)
def command() -> None:
    """Find, test and calibrate a microscope's camera.

    \b
    Example:
      qlvit-edge camera list
      qlvit-edge camera test usb:0 --save pictures/
      qlvit-edge camera calibrate usb:0 --out camera.toml --micrometer 10
    """


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
def list_command(as_json: bool) -> None:
    """List the cameras that are connected.

    Cameras in the network, videos and folders are not looked for.

    \b
    Example:
      qlvit-edge camera list
    """
    from qlvit_edge.camera.devices import devices
    from qlvit_edge.files import json_text

    found = devices()
    if as_json:
        click.echo(json_text([dataclasses.asdict(device) for device in found]))
        return
    if not found:
        click.echo("no camera is connected")
        next_step("connect one, or name a stream, a video or a folder as SOURCE")
        return
    table = plain_table("Cameras", "source", "camera", "")
    for device in found:
        table.add_row(device.source, device.description, device.note)
    table_console(wrap=False).print(table)
    next_step(f"qlvit-edge camera test {shell_word(found[0].source)}")


@command.command()
@click.argument("source")
@click.option(
    "--frames",
    type=Whole(min=3),
    default=50,
    show_default=True,
    help="How many frames to look at.",
)
@click.option(
    "--save",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    help="Folder for three of the pictures, as they came.",
)
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
def test(source: str, frames: int, save: Path | None, as_json: bool) -> None:
    """Take some frames of SOURCE and say whether they will do.

    SOURCE is what `run --camera` takes. Exit code 1 when something is wrong; warnings do not count.

    \b
    Example:
      qlvit-edge camera test picamera2 --save pictures/
    """
    from qlvit_edge.camera.sources import open_camera
    from qlvit_edge.files import json_text
    from qlvit_edge.microscope.camera_check import check_camera
    from qlvit_edge.microscope.pictures import folder_for, require_apart

    camera = open_camera(source)
    _listen(camera)
    if save is not None:
        require_apart(save, camera)
    with folder_for(save), camera:
        found = check_camera(camera, frames, save)
    if as_json:
        click.echo(json_text({**dataclasses.asdict(found), "passed": found.passed}))
    else:
        _print_check(found)
        again = f"qlvit-edge camera calibrate {shell_word(source)} --out camera.toml --blank"
        next_step(again if found.passed else "mend what is marked as an error, and test again")
    if not found.passed:
        click.get_current_context().exit(1)


def _print_check(found: CameraCheck) -> None:
    width, height = found.size
    identity = f" ({found.identity})" if found.identity not in ("", found.camera) else ""
    click.echo(f"{found.camera}{identity}: {found.frames} frames of {width}x{height} pixels")
    for finding in found.findings:
        click.echo(f"{finding.verdict:<8}{finding.what}: {finding.text}")
    for picture in found.pictures:
        click.echo(f"saved   {picture}")


@command.command()
@click.argument("source")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    help="TOML file to write, or to add to: it holds the light and the scale of one camera.",
)
@click.option("--blank", is_flag=True, help="Measure the light on an empty field.")
@click.option(
    "--micrometer",
    type=Number(min=0.1, max=10_000),
    metavar="UM",
    help="Measure the scale by a stage micrometer with so many µm between its lines.",
)
@click.option("--red-cells", is_flag=True, help="Measure the scale by a smear's red cells.")
@click.option("--objective", default="", metavar="TEXT", help="Noted with the scale, such as 100x.")
@click.option(
    "--keep-exposure",
    is_flag=True,
    help="With --blank: leave a Raspberry Pi camera's exposure and white balance as they are.",
)
@click.option(
    "--frames",
    type=Whole(min=1, max=500),
    default=16,
    show_default=True,
    help="How many frames to measure.",
)
def calibrate(
    source: str,
    out: Path,
    blank: bool,
    micrometer: float | None,
    red_cells: bool,
    objective: str,
    keep_exposure: bool,
    frames: int,
) -> None:
    """Measure the light or the scale of a camera on its microscope.

    --blank: an empty place of the slide, a little out of focus. It sets the flat field, and locks
    exposure, gain and white balance of a Raspberry Pi camera.

    --micrometer or --red-cells: what a pixel shows in µm. A stage micrometer is exact; red cells
    are 7 to 8 µm across, which makes the scale right to about 8 %. A scale holds for one objective
    and one size of frame: one file for each.

    \b
    Example:
      qlvit-edge camera calibrate picamera2 --out 100x.toml --blank
      qlvit-edge camera calibrate picamera2 --out 100x.toml --micrometer 10 --objective 100x
      qlvit-edge run blood-nano --camera picamera2 --calibration 100x.toml --out results.sqlite
    """
    from qlvit_edge.files import ensure_writable, require_other, require_target

    if sum((blank, micrometer is not None, red_cells)) != 1:
        raise click.UsageError("give one of --blank, --micrometer and --red-cells.")
    require_target(out)
    require_other(out, Path(source))
    ensure_writable(out.resolve().parent)
    if blank:
        found = _with_light(source, out, frames, keep_exposure)
    else:
        found = _with_scale(source, out, frames, micrometer, objective)
    from qlvit_edge.camera.calibration import Loaded, write_calibration

    write_calibration(out, found)
    _print_calibration(found, out, Loaded(out).sha256)
    if found.scale is None:
        todo = f"qlvit-edge camera calibrate {shell_word(source)} --out {shell_word(out)}"
        next_step(f"{todo} --micrometer 10", "or --red-cells: sets the scale")
    else:
        next_step(
            f"qlvit-edge run MODEL --camera {shell_word(source)} --calibration {shell_word(out)} "
            "--out results.sqlite"
        )


def _with_light(source: str, out: Path, frames: int, keep_exposure: bool) -> CameraCalibration:
    """Measure the light; a scale that the file holds stays."""
    from qlvit_edge.camera.picamera2 import PiCamera
    from qlvit_edge.camera.sources import open_camera
    from qlvit_edge.microscope.calibrating import blank_light, take
    from qlvit_edge.microscope.exposure import set_exposure

    before = _before(out)
    camera = open_camera(source)
    _listen(camera)
    with camera:
        if isinstance(camera, PiCamera) and not keep_exposure:
            set_exposure(camera)
        taken = take(camera, frames)
        light = blank_light(taken, camera.name)
        height, width = taken[0].image.shape[:2]
        return _renewed(before, out, camera, (width, height), light=light)


def _with_scale(
    source: str, out: Path, frames: int, micrometer: float | None, objective: str
) -> CameraCalibration:
    """Measure the scale, in the light that the file holds."""
    from qlvit_edge.camera.calibrated import CalibratedCamera
    from qlvit_edge.camera.calibration import Loaded
    from qlvit_edge.camera.sources import open_camera
    from qlvit_edge.microscope.calibrating import scale_of_micrometer, scale_of_red_cells, take

    before = _before(out)
    camera = open_camera(source, None if before is None else before.wanted())
    _listen(camera)
    with camera if before is None else CalibratedCamera(camera, Loaded(out)) as lit:
        taken = take(lit, frames)
        if micrometer is not None:
            scale = scale_of_micrometer(taken, micrometer, camera.name, objective)
        else:
            scale = scale_of_red_cells(taken, camera.name, objective)
        height, width = taken[0].image.shape[:2]
        return _renewed(before, out, camera, (width, height), scale=scale)


def _before(out: Path) -> CameraCalibration | None:
    from qlvit_edge.camera.calibration import read_calibration

    return read_calibration(out) if out.exists() else None


def _renewed(
    before: CameraCalibration | None,
    out: Path,
    camera: Camera,
    size: tuple[int, int],
    *,
    light: Light | None = None,
    scale: PixelScale | None = None,
) -> CameraCalibration:
    """Return the calibration with a new part, and the other one of the same camera and size.

    Raises:
        CalibrationError: the file is of another camera or size.
    """
    from qlvit_edge.camera.calibration import CameraCalibration
    from qlvit_edge.errors import CalibrationError
    from qlvit_edge.version import installed_version

    if before is not None:
        before.require_fit(out, camera.identity)
        finding = before.size_finding(*size)
        if finding:
            raise CalibrationError(out, finding, "choose another name for this size")
        light, scale = light or before.light, scale or before.scale
    return CameraCalibration(
        program=" ".join(("qlvit-edge", installed_version())),
        camera=camera.identity,
        source=camera.name,
        width=size[0],
        height=size[1],
        light=light,
        scale=scale,
    )


def _print_calibration(found: CameraCalibration, out: Path, sha256: str) -> None:
    name = found.camera or f"{found.source} (which camera took it is not known)"
    click.echo(f"camera: {name}, {found.width}x{found.height} pixels")
    light = found.light
    if light is not None:
        gains = light.flat_field().largest()
        click.echo(
            f"light: red {light.red:.0f}, green {light.green:.0f}, blue {light.blue:.0f} of 255; "
            f"the darkest place has {100 / gains:.0f} % of that, and is corrected"
        )
        if light.exposure_us is not None:
            click.echo(
                f"locked: exposure {light.exposure_us / 1000:.4g} ms, gain {light.gain or 1:.3g}, "
                f"red {light.red_gain or 1:.3g} and blue {light.blue_gain or 1:.3g} to green 1"
            )
    scale = "not known yet: lengths stay in pixels" if found.scale is None else found.scale.words()
    click.echo(f"scale: {scale}")
    click.echo(f"{out}: sha256 {sha256[:12]}")


def _listen(camera: Camera) -> None:
    camera.report.listener = lambda text: click.echo(f"note: {text}", err=True)
