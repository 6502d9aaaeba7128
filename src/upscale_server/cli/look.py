"""`upscale probe`, `plan` and `verify`: what a file is, what would be done with it, and whether two files agree.

They only look; nothing is written.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from upscale_server.cli import options, talk
from upscale_server.cli.estimating import Estimating, facts_of_estimate
from upscale_server.cli.outputs import Job, jobs_of
from upscale_server.cli.progress import Watcher
from upscale_server.cli.session import interruptible, run_each, session_of
from upscale_server.cli.video import limits_of, muxer_of, suffixes_for
from upscale_server.cli.video_report import audit_record
from upscale_server.errors import AuditFailed
from upscale_server.models.at_hand import choices_of

if TYPE_CHECKING:
    from upscale_server.audit import Audit
    from upscale_server.media.types import Colour, VideoInfo
    from upscale_server.plan import Plan
    from upscale_server.wish import Wish


def probe(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A video.")], as_json: options.Json = False
) -> None:
    """Show what is in a video file."""
    from upscale_server.media.probe import probe as probe_file
    from upscale_server.records import record

    info = probe_file(file)
    if as_json:
        talk.result_json(record(info))
        return
    talk.result_facts(_facts_of(info))
    rows = [(one.index, one.kind, one.codec, one.language, one.title) for one in info.streams]
    if rows:
        talk.result_table("", ("stream", "kind", "codec", "language", "title"), rows)
    for code, detail in info.warnings:
        talk.warn(code, detail)


def plan(
    context: typer.Context,
    inputs: Annotated[list[Path], typer.Argument(metavar="IN...", help="Videos, or folders of videos.")],
    output: options.Output = None,
    task: options.Task = None,
    to: options.To = None,
    scale: options.Scale = None,
    fit: options.Fit = None,
    model: options.Model = None,
    engine: options.Engine = "auto",
    precision: options.Precision = "auto",
    codec: options.Codec = "hevc",
    crf: options.Crf = None,
    preset: options.Preset = None,
    pixel_format: options.PixelFormat = None,
    decoder: options.Decoder = "cpu",
    start: options.Start = None,
    duration: options.Duration = None,
    threads: options.Threads = 0,
    segment_seconds: options.SegmentSeconds = 10.0,
    measure: options.Measure = False,
    as_json: options.Json = False,
) -> None:
    """Show what `upscale video` would do with the same options, how long it would take and how large it would be."""
    from upscale_server.models.at_hand import model_for
    from upscale_server.wish import Wish

    settings = session_of(context).settings
    wish = Wish(
        task=task, to=to, scale=scale, fit=fit, model=model_for(engine, model, settings), engine=engine,
        precision=precision, codec=codec, crf=crf, preset=preset, pixel_format=pixel_format, decoder=decoder,
        start_seconds=start, duration_seconds=duration, threads=threads, segment_seconds=segment_seconds,
    )  # fmt: skip
    jobs = jobs_of(inputs, output, suffixes_for(codec))
    with Estimating(settings, measure=measure) as estimating:
        run_each(
            jobs,
            lambda job: _plan(job, wish, estimating, as_json=as_json),
            lambda job: str(job.source),
            as_json=as_json,
        )


def verify(
    source: Annotated[Path, typer.Argument(metavar="A", help="The source.")],
    output: Annotated[Path, typer.Argument(metavar="B", help="The file that was made from it.")],
    as_json: options.Json = False,
) -> None:
    """Hold a file against the one it was made from: every frame, time, track and tag."""
    from upscale_server.audit import verify as verify_files

    with interruptible("run the same command again"), Watcher(output.name) as watcher:
        audit = verify_files(source, output, watcher)
    if as_json:
        talk.result_json({"source": str(source), "output": str(output), **audit_record(audit)})
    else:
        _show_audit(audit)
    if audit.ok:
        return
    broken = sum(1 for rule in audit.rules if rule.hard and not rule.ok)
    error = AuditFailed(f"{output} breaks {broken} of {len(audit.rules)} rules: {audit.faults}")
    talk.fail(error)
    raise typer.Exit(error.exit_code)


def _plan(job: Job, wish: Wish, estimating: Estimating, *, as_json: bool) -> None:
    from dataclasses import replace

    from upscale_server.plan import make_plan

    wished = replace(wish, container=muxer_of(job.output))
    made = make_plan(job.source, wished, limits_of(estimating.settings), choices_of(estimating.settings))
    made, estimate = estimating.of(made)
    if as_json:
        facts = {"digest": made.digest, "output": str(job.output), "estimate": estimate.as_record()}
        talk.result_json({**made.as_record(), **facts})
        return
    talk.result_facts([*_facts_of_plan(job, made), *facts_of_estimate(estimate)])
    for code, detail in made.warnings:
        talk.warn(code, detail)


def _facts_of(info: VideoInfo) -> list[tuple[str, object]]:
    from upscale_server.media.colour_names import UNSTATED, range_name

    colour = info.colour
    facts: list[tuple[str, object]] = [
        ("file", info.path),
        ("container", info.container),
        ("codec", info.codec),
        ("size", info.size),
        ("pixel format", _pixel_format_text(info)),
        ("frames", f"{info.frame_count} ({info.frame_count_from_header} by the header)"),
        ("duration", f"{info.duration_seconds:.3f} s"),
        ("average rate", f"{info.average_rate} ({float(info.average_rate):.3f} fps)"),
        ("variable rate", _yes(holds=info.variable_rate)),
        ("time base", info.time_base),
        ("sample aspect ratio", info.sample_aspect_ratio or UNSTATED),
        ("rotation", f"{info.rotation}°"),
        ("interlaced", _yes(holds=info.interlaced)),
        ("colour", _colour_text(colour)),
        ("range", range_name(colour.range)),
        ("chroma location", colour.chroma_location or UNSTATED),
        ("bytes", info.byte_count),
        ("bit rate", f"{info.bit_rate / 1000:.0f} kbit/s"),
        ("chapters", info.chapter_count),
    ]
    if info.hdr.mastering_display or info.hdr.content_light:
        facts.append(("HDR10", f"{info.hdr.mastering_display} max-cll {info.hdr.content_light}".strip()))
    return facts + [(f"tag {name}", value) for name, value in sorted(info.metadata.items())]


def _colour_text(colour: Colour) -> str:
    from upscale_server.media.colour_names import matrix_name, primaries_name, transfer_name

    names = primaries_name(colour.primaries), transfer_name(colour.transfer), matrix_name(colour.matrix)
    return "primaries {}, transfer {}, matrix {}".format(*names)


def _pixel_format_text(info: VideoInfo) -> str:
    if info.pixel_format == info.pixel_format_of_source:
        return info.pixel_format
    return f"{info.pixel_format_of_source}, worked on as {info.pixel_format}"


def _facts_of_plan(job: Job, made: Plan) -> list[tuple[str, object]]:
    passes = ", ".join(f"{one.card.name} ×{one.card.scale}: {one.size_in} to {one.size_out}" for one in made.passes)
    encoder = made.encoder
    return [
        ("source", job.source),
        ("output", job.output),
        ("size", f"{made.source.size} to {made.target} (fit {made.fit}, picture {made.picture})"),
        ("passes", passes),
        ("model because", made.model_because),
        ("engine", f"{made.engine}, precision {made.precision}, lanes {made.lanes}, batch {made.batch}"),
        ("encoder", f"{encoder.codec} crf {encoder.crf} preset {encoder.preset} {encoder.pixel_format}"),
        ("threads", encoder.threads),
        ("container", made.container),
        ("frames", made.frame_count),
        ("segments", len(made.segments)),
        ("plan", made.digest),
    ]


def _show_audit(audit: Audit) -> None:
    rows = [
        ("ok" if rule.ok else ("BROKEN" if rule.hard else "differs"), rule.name, rule.expected, rule.found)
        for rule in audit.rules
    ]
    talk.result_table("", ("", "rule", "expected", "found"), rows)
    talk.result("the files agree" if audit.ok else "the files do not agree")


def _yes(*, holds: bool) -> str:
    return "yes" if holds else "no"
