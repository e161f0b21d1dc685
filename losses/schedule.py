"""The weight of the regulariser over the optimizer's steps."""


def quadratic(step: int, value: float, warmup_steps: int) -> float:
    """λ · ((step + 1) / T)² until step ≥ T, then λ (SPLADE's schedule, arXiv 2107.05720, section 3.3).

    Args:
        step: optimizer steps done, from 0.
        value: λ; warmup_steps: T.
    """
    return value if step >= warmup_steps else value * ((step + 1) / warmup_steps) ** 2
