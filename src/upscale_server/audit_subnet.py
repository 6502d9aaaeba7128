"""The subnet's rules on a finished file, one by one: a file that breaks one would score zero, so it is not delivered.

What any output promises is `audit`'s; the picture's score (VMAF, PIE-APP) needs an original that only the validators
have, and is not judged here.
"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from upscale_server.audit import Audit, Rule
from upscale_server.media.boxes import outer_boxes
from upscale_server.media.colour_names import matrix_name, primaries_name, range_name, transfer_name
from upscale_server.media.stream_facts import StreamFacts, stream_facts
from upscale_server.media.types import FULL
from upscale_server.plan import Plan
from upscale_server.profiles import PROFILES

_CODECS = {"hevc": "HEVC Main", "av1": "AV1 Main"}
_RATE_TOLERANCE = Fraction(3, 10)
_PROFILE = PROFILES["subnet"]


def with_subnet_rules(report: Audit, plan: Plan, output: Path, frame_count: int) -> Audit:
    """Return the audit with the subnet's rules behind it.

    Args:
        report: what the general audit found.
        plan: of the job.
        output: the finished file.
        frame_count: frames written: those of the source, as far as they decode.
    """
    return Audit((*report.rules, *subnet_rules(plan, output, frame_count)))


def subnet_rules(plan: Plan, output: Path, frame_count: int) -> tuple[Rule, ...]:
    """Hold a finished file against the subnet's profile."""
    a, b = stream_facts(Path(plan.source.path)), stream_facts(output)
    return (
        *_file_rules(plan, output, b),
        *_coding_rules(b),
        *_look_rules(plan, b),
        *_time_rules(plan, a, b, frame_count),
    )


def _file_rules(plan: Plan, output: Path, b: StreamFacts) -> list[Rule]:
    boxes = outer_boxes(output)
    kinds = [box.kind for box in boxes]
    is_mp4 = "mp4" in b.container and kinds[:1] == ["ftyp"]
    fast = "moov" in kinds and "mdat" in kinds and kinds.index("moov") < kinds.index("mdat")
    last = boxes[-1] if boxes else None
    padding = last.length if last is not None and last.kind == "free" else 0
    size = output.stat().st_size
    scale = plan.target.width // plan.source.size.width
    times = _PROFILE.most_times_source.get(scale, 0)
    return [
        _rule("subnet: container", "mp4", "mp4" if is_mp4 else b.container),
        _rule("subnet: faststart", "moov before mdat", "moov before mdat" if fast else " ".join(kinds)),
        _rule("subnet: one picture", 0, b.other_pictures),
        _rule("subnet: padding", plan.padding, padding if plan.padding else 0),
        _at_most("subnet: bytes by the source's", times * plan.source.byte_count, size),
        _at_most("subnet: bytes by the limit", size if plan.max_bytes is None else plan.max_bytes, size),
    ]


def _coding_rules(b: StreamFacts) -> list[Rule]:
    named = f"{b.codec.upper()} {b.profile}"
    gop = _PROFILE.most_gop_frames or 0
    starts = b.keyframes[:1] == (0,)
    return [
        Rule("subnet: codec", named in _CODECS.values(), " or ".join(_CODECS.values()), named),
        _rule("subnet: B-frames", "none", "reordered pictures" if b.reordered else "none"),
        _rule("subnet: first picture", "a keyframe", "a keyframe" if starts else "no keyframe"),
        _at_most("subnet: GOP", gop, b.longest_gop),
    ]


def _look_rules(plan: Plan, b: StreamFacts) -> list[Rule]:
    source, colour = plan.source, plan.source.colour
    scale = plan.target.width // source.size.width
    limited = b.colour.range != FULL
    expected_ratio = source.sample_aspect_ratio or Fraction(1)
    return [
        _rule("subnet: size", source.size.times(scale), b.size),
        Rule("subnet: scale", scale in _PROFILE.most_times_source, "2 or 4", str(scale)),
        _rule("subnet: pixel format", _PROFILE.pixel_format, b.pixel_format),
        Rule("subnet: range", limited, "limited", range_name(b.colour.range)),
        _rule("subnet: sample aspect ratio", expected_ratio, b.sample_aspect_ratio or Fraction(1)),
        _rule("subnet: colour primaries", primaries_name(colour.primaries), primaries_name(b.colour.primaries)),
        _rule("subnet: colour transfer", transfer_name(colour.transfer), transfer_name(b.colour.transfer)),
        _rule("subnet: colour matrix", matrix_name(colour.matrix), matrix_name(b.colour.matrix)),
    ]


def _time_rules(plan: Plan, a: StreamFacts, b: StreamFacts, frame_count: int) -> list[Rule]:
    apart = abs(a.rate - b.rate)
    rules = [
        Rule("subnet: frame rate", apart <= _RATE_TOLERANCE, f"{float(a.rate):.3f}", f"{float(b.rate):.3f}"),
        _rule("subnet: frame count", frame_count, len(b.times)),
        _rule("subnet: each time once", len(b.times), len(set(b.times))),
    ]
    if plan.source.timed and frame_count == len(a.times):
        rules.append(_same_times(plan, a, b))
    return rules


def _same_times(plan: Plan, a: StreamFacts, b: StreamFacts) -> Rule:
    """Compare times exactly; `delay` is zero unless the source begins before zero, which MP4 would hide."""
    expected = [time + plan.window.delay for time in sorted(a.times)]
    wrong = next((pair for pair in zip(expected, sorted(b.times), strict=False) if pair[0] != pair[1]), None)
    found = "the same" if wrong is None else f"{float(wrong[1]):.6f} s where {float(wrong[0]):.6f} s was expected"
    return Rule("subnet: times", wrong is None and len(expected) == len(b.times), "the source's", found)


def _rule(name: str, expected: object, found: object) -> Rule:
    return Rule(name, expected == found, str(expected), str(found))


def _at_most(name: str, most: int, found: int) -> Rule:
    return Rule(name, found <= most, f"at most {most}", str(found))
