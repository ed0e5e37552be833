"""`rm360 cameras`: check a calibration, suggest camera sets, make contact sheets and strips."""

from __future__ import annotations

from pathlib import Path

import click

from rm360_async.cli.options import run_async, selection_option
from rm360_async.domain.exit_code import ExitCode

PATH = click.Path(path_type=Path)
FOLDER = click.argument("folder", type=PATH)


@click.group("cameras", invoke_without_command=True)
@click.pass_context
def command(context: click.Context) -> None:
    """Check calibrations, choose camera sets, and view the images of cameras.

    \b
    Examples:
      rm360 cameras analyze subjects/0018/s3_all
      rm360 cameras suggest 10
      rm360 cameras grid subjects/0018/s3_all --output grid.png
      rm360 cameras strip subjects/0018/s1_all --camera 25 --output strip.png
    """
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@command.command("analyze", short_help="Check a calibration and show the camera positions.")
@click.argument("target", type=PATH)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--plots", type=PATH, metavar="DIR", help="Write rig.svg and coverage.svg to this folder.")
def analyze_calibration(target: Path, *, as_json: bool, plots: Path | None) -> int:
    """Check the calibration of TARGET and show the camera positions.

    TARGET is a published folder, an .smc file, or an .smc file on a remote. Exit code 1 if a check fails.

    \b
    Examples:
      rm360 cameras analyze subjects/0018/s3_all
      rm360 cameras analyze 0026_e0_anno.smc --plots plots/
      rm360 cameras analyze gdrive:0018/0018_s3_all_raw.smc
      rm360 cameras analyze subjects/0018/s3_all --json | jq '.checks[] | select(.state != "ok")'
    """
    from rm360_async.commands.remote_smc import is_remote, read_remote_smc
    from rm360_async.visualization import calibration_text
    from rm360_async.visualization.calibration_source import read_calibration_source, smc_calibration

    if is_remote(target):
        source = run_async(read_remote_smc, str(target), lambda sparse, _: smc_calibration(sparse, target.name))
    else:
        source = read_calibration_source(target)
    report = calibration_text.analyze(source)
    to_text = calibration_text.analysis_json if as_json else calibration_text.analysis_text
    click.echo(to_text(source, report))
    if plots is not None:
        for path in calibration_text.write_plots(source, report, plots):
            click.echo(f"written: {path}", err=True)
    return ExitCode.SOME_FAILED if report.failures else ExitCode.DONE


@command.command("suggest", short_help="Suggest N cameras: all around, at all heights, or about the face.")
@click.argument("count", metavar="N", type=int)
@click.option(
    "--from",
    "pool",
    default="",
    metavar="FOLDER|SELECTION",
    help="Choose among these cameras, e.g. '0-30 -12' or s3-38.",
)
@click.option(
    "--as",
    "family",
    type=click.Choice(["ring", "cover", "face", "front"]),
    default="ring",
    show_default=True,
    help="All around; all around at all heights; about the face; about camera 25.",
)
@click.option("--front", is_flag=True, help="The same as --as front.")
@click.option("--plots", type=PATH, metavar="DIR", help="Write the map coverage.svg to this folder.")
def suggest_cameras(count: int, pool: str, family: str, *, front: bool, plots: Path | None) -> int:
    """Suggest N cameras, show how well they cover the rig, and compare them with the other sets.

    \b
    Examples:
      rm360 cameras suggest 10
      rm360 cameras suggest 8 --from s3-38
      rm360 cameras suggest 12 --as cover --plots plots/
      rm360 cameras suggest 5 --as face --from subjects/0018/s3_all
    """
    from rm360_async.visualization.camera_suggestion import parse_pool, suggestion_text
    from rm360_async.visualization.coverage_plot import coverage_map
    from rm360_async.visualization.raster import write_output_file

    candidates = parse_pool(pool)
    family = "front" if front else family
    text, suggested = suggestion_text(count, candidates, family)
    click.echo(text)
    if plots is not None:
        path = plots / "coverage.svg"
        title = f"{family}:{count} of {len(candidates)} cameras"
        write_output_file(path, coverage_map(title, suggested, candidates).encode(errors="backslashreplace"))
        click.echo(f"written: {path}", err=True)
    return ExitCode.DONE


@command.command("grid", short_help="Make a contact sheet of one frame, in rig order.")
@FOLDER
@click.option(
    "--frame", type=click.IntRange(0), help="Frame number; by default the first frame that most cameras have."
)
@selection_option("--mark", "mark", "Frame these cameras, e.g. ring:10; chosen among those of the folder.")
@click.option("--output", type=PATH, default=Path("grid.png"), show_default=True, help="The .png, .jpg or .webp file.")
def write_contact_sheet(folder: Path, frame: int | None, mark: tuple[str, ...], output: Path) -> int:
    """Write a contact sheet of one frame: all cameras, in the order of their positions around the head.

    \b
    Examples:
      rm360 cameras grid subjects/0018/s3_all --frame 100 --output grid.jpg
      rm360 cameras grid subjects/0018/s3_all --mark cover:12
    """
    from rm360_async.config import parse_cameras
    from rm360_async.visualization.contact_sheet import contact_sheet
    from rm360_async.visualization.published_folder import open_folder
    from rm360_async.visualization.raster import image_suffix

    image_suffix(output)
    sheet = contact_sheet(open_folder(folder), frame, parse_cameras(mark) if mark else ())
    sheet.raster.save(output)
    absent = ", ".join(f"{number} {reason}" for reason, number in sorted(sheet.absent.items()))
    parts = [f"frame {sheet.frame}, {len(sheet.shown)} cameras", absent]
    parts.append(f"{len(sheet.marked)} marked: {' '.join(sheet.marked)}" if sheet.marked else "")
    click.echo(f"{output}: {'; '.join(filter(None, parts))}")
    return ExitCode.DONE


@command.command("strip", short_help="Show one camera over time.")
@FOLDER
@click.option("--camera", required=True, metavar="ID", help="The camera, e.g. 25.")
@click.option("--count", type=click.IntRange(1, 400), default=24, show_default=True, help="Number of images.")
@click.option("--output", type=PATH, default=Path("strip.png"), show_default=True, help="The .png, .jpg or .webp file.")
def write_strip(folder: Path, camera: str, count: int, output: Path) -> int:
    """Write one camera over time: evenly spaced frames, and a bar that marks every missing one.

    \b
    Examples:
      rm360 cameras strip subjects/0018/s1_all --camera 25 --output strip.png
    """
    from rm360_async.domain.formatting import number_ranges
    from rm360_async.visualization.frame_strip import frame_strip
    from rm360_async.visualization.published_folder import open_folder
    from rm360_async.visualization.raster import image_suffix

    image_suffix(output)
    strip = frame_strip(open_folder(folder), camera, count)
    strip.raster.save(output)
    missing = f"; missing: {number_ranges(strip.missing)}" if strip.missing else "; no frame is missing"
    click.echo(f"{output}: {len(strip.frames)} images{missing}")
    return ExitCode.DONE
