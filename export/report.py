"""The summaries that recblr-export prints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recblr.runtime.bundle.plan_section import NOT_RUN, Extent, PlanSection, tensorrt_type
from recblr.runtime.gpu.trt_module import title


def summary(output: Path, manifest: dict[str, Any], seconds: float) -> str:
    """The summary of an exported bundle.

    Args:
        output: the bundle.
        manifest: its fields.
        seconds: that the export took.
    """
    size = sum(entry["bytes"] for entry in manifest["files"].values())
    lines = [
        f"{output}: {size / 1e6:.1f} MB, {manifest['n_items']:,} items, up to {manifest['max_k']:,} results, "
        f"states of {manifest['state_size']:,} numbers",
        f"On the CPU, against PyTorch: {_differences(manifest['parity'])}",
    ]
    if manifest.get("plan") is not None:
        section = PlanSection.from_dict(manifest["plan"])
        lines += _plan_lines(output, section, manifest["files"][section.file]["bytes"])
    return "\n".join([*lines, f"exported in {seconds:.1f} s"])


def verification_summary(bundle: Path, what: str, report: dict[str, Any]) -> str:
    """The summary of a check.

    Args:
        bundle: that was checked.
        what: was compared, and with what.
        report: the differences, as `recblr.export.checks.verify.verify_bundle` gives both.
    """
    cases = ", ".join(report["cases"])
    return f"{bundle}: every file is as its manifest says\n{what}: {_differences(report)} ({cases})"


def _differences(report: dict[str, Any]) -> str:
    return (
        f"scores within {report['max_score_difference']:.1e}, states within {report['max_state_difference']:.1e}, "
        f"the same best items in {report['top_k_agreement']:.0%} of rows"
    )


def _plan_lines(output: Path, section: PlanSection, size: int) -> list[str]:
    built_for = ", ".join(section.compute_capabilities) or "its own choice"
    memory = "" if section.memory_bytes is None else f"; at most {section.memory_bytes / 1e6:.0f} MB of GPU memory"
    profile = section.profile
    lines = [
        f"{section.file}: {title(section.target)} {section.version}, {section.precision}, {size / 1e6:.1f} MB, "
        f"built in {section.build_seconds:.1f} s (compute capabilities: {built_for})",
        f"it takes {_extent(profile.rows, 'rows')}, {_extent(profile.tokens, 'new items')} and "
        f"{_extent(profile.exclusions, 'exclusions')} at once{memory}",
        _proof(section),
    ]
    if evaluation := section.evaluation:
        lines.append(
            f"NDCG@10 {evaluation['ndcg@10']:.4f}, in fp32 {evaluation['ndcg@10_fp32']:.4f}; "
            f"{evaluation['top_10_overlap']:.2%} of the ten best are the same ({evaluation['measured']})"
        )
    if section.status == NOT_RUN:
        lines.append(f"plan: {NOT_RUN} (no GPU here): recblr-export --verify {output} where it will serve")
    else:
        lines.append(f"plan: run on {section.verification['gpu']}, {_differences(section.verification)}")
    return lines


def _proof(section: PlanSection) -> str:
    network = section.proof["network"]
    low = tensorrt_type(section.precision)
    opened = "the network's types" if section.proof["inspector"] is None else "the network's types and the plan's"
    return (
        f"{section.precision} by {opened}: {network['plugins'][low]} sequence operations, {network['products'][low]} "
        f"products; in fp32 {network['layer_norms']['FLOAT']} LayerNorms, states, scores"
    )


def _extent(extent: Extent, what: str) -> str:
    return f"{extent.minimum:,} to {extent.maximum:,} {what} (best at {extent.optimum:,})"
