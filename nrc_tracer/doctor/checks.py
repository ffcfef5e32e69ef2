"""All checks, in the order in which they run: what others depend on comes first. This file loads neither torch nor Warp."""

from __future__ import annotations

from nrc_tracer.doctor.check import Check

HERE = "nrc_tracer.doctor"
REFERENCE = "float64 reference"
NETWORKS = "Networks are wrong on this device: use --device cpu, and report this."
TASKS = "Training goes wrong on this device: use --device cpu, and report this."

CHECKS = (
    Check(
        "launches and copies",
        f"{HERE}.launch_check:compare_launches",
        peer="NumPy's integers",
        advice="Nothing on this device can be relied on: update its driver, and test its memory.",
        uses_torch=False,
        first_use=True,
    ),
    Check(
        "network, float32",
        f"{HERE}.network_checks:compare_float32",
        peer=REFERENCE,
        cuda_peer=f"{REFERENCE} on the CPU",
        advice=NETWORKS,
        first_use=True,
    ),
    Check(
        "network, halves",
        f"{HERE}.network_checks:compare_halves",
        peer=REFERENCE,
        cuda_peer=f"{REFERENCE} on the CPU",
        advice='Products of 16-bit operands are wrong: use precision="float32" or --device cpu.',
        first_use=True,
    ),
    Check(
        "network, fused",
        f"{HERE}.network_checks:compare_fused",
        peer=REFERENCE,
        cuda_peer=f"{REFERENCE} on the CPU",
        advice="Fused kernels are wrong: set NRC_TRACER_CPU_FORM=blocked on the CPU, leave fused=True out on a GPU.",
    ),
    Check(
        "training",
        f"{HERE}.network_checks:compare_all_training",
        peer="float64 training",
        cuda_peer="float64 training on the CPU",
        advice=NETWORKS,
        first_use=True,
    ),
    Check(
        "path tracer",
        f"{HERE}.path_check:compare_paths",
        peer="another BVH; a furnace",
        cuda_peer="paths on the CPU; a furnace",
        advice="Images are wrong on this device: render with --device cpu, and report this.",
        uses_torch=False,
        first_use=True,
        traces_rays=True,
    ),
    Check(
        "cached frame",
        f"{HERE}.cache_checks:compare_cached_frames",
        peer="path tracing",
        cuda_peer="path tracing on the CPU",
        advice="Images with the cache are wrong on this device: render with --cache off or --device cpu.",
        traces_rays=True,
    ),
    Check(
        "graph frame",
        f"{HERE}.cache_checks:compare_graph_frames",
        peer="path tracing on the CPU",
        advice="Frames as CUDA graphs are wrong on this device: leave --cache-option fused=true out.",
        cuda_only="only GPUs launch frames as CUDA graphs",
        traces_rays=True,
    ),
    *(
        Check(
            f"fit {task}",
            f"{HERE}.task_checks:{function}",
            peer=f"{truth} reference",
            cuda_peer=f"{truth} on the CPU",
            advice=TASKS,
        )
        for task, function, truth in (
            ("image", "compare_image", "pixels; float64"),
            ("sdf", "compare_shape", "distances; float64"),
            ("nerf", "compare_field", "photos; float32"),
        )
    ),
)
