"""TV-L1 optical flow in torch: Zach, Pock, Bischof, "A Duality Based Approach for Realtime TV-L1 Optical Flow", 2007.

    E(u) = integral of lambda |I1(x + u) - I0(x)| + |grad u|

The scheme, its constants (but for the number of scales), its borders and its resizing are those of OpenCV's DualTVL1,
which TSN's flow tool and the papers use: an image pyramid; at each scale a few warps of I1 by the flow so far; after
each warp iterations that alternate a thresholding step (data term) with a step of Chambolle's dual projection
(smoothness), with a median filter of the flow now and then, until the flow hardly changes, looked at after every second one as in OpenCV.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from sta_tsn.video.flow.median import median_5x5
from sta_tsn.video.flow.warp import warp

SMALLEST_SIDE_PX = 16  # of the pyramid's coarsest image
Progress = tuple[
    Tensor, Tensor, Tensor, Tensor
]  # flow, dual along x, dual along y, and the flow's mean square change


@dataclass(frozen=True)
class TVL1Settings:
    """Named as in OpenCV, with its defaults but for num_scales: two more than its five follow motion of half as many pixels again,
    at 1.06 times the cost (median error on zoomed frames 0.98 times OpenCV's; with five 1.00 times).

    num_scales, scale_step: of the image pyramid. warps: per scale. inner_iterations: between two median filterings
    (5 x 5), done two at a time, so that an odd number means one more. outer_iterations: how often that is done between
    two warps, at most. tau: step of the dual projection.
    lambda_: weight of the data term. theta: how tightly its auxiliary flow is coupled. epsilon: iterating ends when
    the root mean square change of the flow, over the batch, falls below it, in pixels. median_filter: on or off.
    """

    num_scales: int = 7
    scale_step: float = 0.8
    warps: int = 5
    outer_iterations: int = 10
    inner_iterations: int = 30
    tau: float = 0.25
    lambda_: float = 0.15
    theta: float = 0.3
    epsilon: float = 0.01
    median_filter: bool = True

    def __post_init__(self):
        counts = ("num_scales", "warps", "outer_iterations", "inner_iterations")
        wrong = [
            name
            for name in counts
            if not isinstance(getattr(self, name), int) or getattr(self, name) < 1
        ]
        wrong += [
            name
            for name in ("scale_step", "tau", "lambda_", "theta")
            if not 0 < getattr(self, name) < float("inf")
        ]
        if (
            wrong := wrong
            + ["scale_step"] * (self.scale_step >= 1)
            + ["epsilon"] * (not self.epsilon >= 0)
        ):
            raise ValueError(
                f"TV-L1: {wrong[0]}={getattr(self, wrong[0])} (counts from 1, factors above 0, scale_step below 1)"
            )


def tvl1_flow(previous: Tensor, following: Tensor, fused: bool | None = None, **settings) -> Tensor:
    """Flow that carries `previous` onto `following`: previous(x) = following(x + flow(x)).

    Args:
        previous, following: grey frames (B, H, W), float in [0, 255], any device. All pairs of the batch are worked
            on together: the CPU is fastest with B = 1 (it stays in the cache), a GPU with as many as fit.
        fused: compile the inner iteration; by default on a GPU. On a CPU it needs a C++ compiler and ten seconds the first
            time; then it takes 0.7 of the time of eager, 0.4 where every core works (memory is what eager waits for).
        settings: fields of `TVL1Settings`.

    Returns:
        (B, 2, H, W) in pixels, x then y. Zero where nothing can be told (constant frames).

    Raises:
        ValueError: shapes differ or are not (B, H, W), no pair, a side is under 16 px, values are not finite floats.
    """
    check_frames(previous, following)
    options = replace(TVL1Settings(), **settings)
    step = (
        two_fused_iterations()
        if (previous.is_cuda if fused is None else fused)
        else two_eager_iterations
    )
    with torch.inference_mode():
        images = pyramid(torch.stack([previous, following], 1).float(), options)
        flow = torch.zeros_like(images[-1])
        for image in reversed(images):
            if flow.shape[-2:] != image.shape[-2:]:
                flow = F.interpolate(flow, image.shape[-2:], mode="bilinear") / options.scale_step
            flow = flow_at_scale(image[:, :1], image[:, 1:], flow, options, step)
    return flow.clone()  # outside of inference mode: an ordinary tensor


def check_frames(previous: Tensor, following: Tensor) -> None:
    if previous.ndim != 3 or previous.shape != following.shape or not len(previous):
        raise ValueError(
            f"tvl1_flow takes two alike (B > 0, H, W) tensors, not {tuple(previous.shape)} and {tuple(following.shape)}"
        )
    if min(previous.shape[1:]) < SMALLEST_SIDE_PX:
        raise ValueError(
            f"frames of {tuple(previous.shape[1:])} px: both sides must be at least {SMALLEST_SIDE_PX} px"
        )
    for name, frames in (("previous", previous), ("following", following)):
        if not frames.is_floating_point():
            raise ValueError(
                f"{name} is {frames.dtype}; give floats in [0, 255], as frames.float()"
            )
        if not torch.isfinite(frames).all():
            raise ValueError(f"{name} holds values that are not finite")


def pyramid(images: Tensor, options: TVL1Settings) -> list[Tensor]:
    """(B, C, H, W) at every scale, finest first."""
    scales = [images]
    for _ in range(options.num_scales - 1):
        size = [round(side * options.scale_step) for side in scales[-1].shape[-2:]]
        if min(size) < SMALLEST_SIDE_PX:
            break
        padded = F.pad(
            scales[-1], (0, 2, 0, 2), mode="replicate"
        )  # so that sizes can be rounded up at exactly this step
        small = F.interpolate(
            padded, scale_factor=options.scale_step, mode="bilinear", recompute_scale_factor=False
        )
        scales.append(small[..., : size[0], : size[1]].contiguous())
    return scales


def flow_at_scale(
    previous: Tensor, following: Tensor, flow: Tensor, options: TVL1Settings, step: Callable
) -> Tensor:
    """Refine `flow` (B, 2, H, W) between images (B, 1, H, W) of one scale."""
    dual_x, dual_y = (
        torch.zeros_like(flow),
        torch.zeros_like(flow),
    )  # of each flow component, along x and y
    scratch = [torch.zeros_like(flow) for _ in range(4)]
    factors = (options.lambda_ * options.theta, options.theta, options.tau / options.theta)
    stack = torch.cat([following, central_gradient(following)], 1)
    for _ in range(options.warps):
        warped = warp(stack, flow)
        gradient = warped[:, 1:].contiguous()
        constant = (
            warped[:, :1] - previous - (gradient * flow).sum(1, keepdim=True)
        )  # the residual is constant + gradient . u
        energy = gradient.square().sum(1, keepdim=True)
        inverse = torch.where(energy > torch.finfo(energy.dtype).eps, -1 / energy, 0)
        for number in range(0, options.outer_iterations * options.inner_iterations, 2):
            if number % options.inner_iterations < 2:
                flow = median_5x5(flow) if options.median_filter else flow.clone()
            flow, dual_x, dual_y, change = step(
                flow, dual_x, dual_y, gradient, constant, inverse, scratch, *factors
            )
            if change < options.epsilon**2:
                break
    return flow


def iteration(
    flow: Tensor, dual_x: Tensor, dual_y: Tensor, gradient: Tensor, constant: Tensor, inverse: Tensor,
    scratch: list[Tensor], bound: float, theta: float, step: float,
) -> None:  # fmt: skip
    """One thresholding and one projection step; changes `flow` and the dual in place.

    Written without temporaries: in eager mode on a CPU allocating them takes longer than computing them.

    Args:
        gradient, constant: of the warped image (B, 2, H, W) and the linearised residual (B, 1, H, W).
        inverse: -1 / |gradient|^2, zero where there is no gradient.
        scratch: memory of four flows; the last column of the first and the last row of the second are zero and stay so.
        bound, theta, step: lambda theta, theta and tau / theta.
    """
    slope_x, slope_y, divergence, norm = scratch
    residual = norm[:, :1]
    torch.add(dual_x, dual_y, out=divergence)
    divergence[..., 1:] -= dual_x[..., :-1]
    divergence[..., 1:, :] -= dual_y[..., :-1, :]

    torch.addcmul(constant, gradient[:, :1], flow[:, :1], out=residual)
    residual.addcmul_(gradient[:, 1:], flow[:, 1:]).mul_(inverse).clamp_(-bound, bound)
    flow.addcmul_(gradient, residual).add_(divergence, alpha=theta)

    torch.sub(flow[..., 1:], flow[..., :-1], out=slope_x[..., :-1])
    torch.sub(flow[..., 1:, :], flow[..., :-1, :], out=slope_y[..., :-1, :])
    torch.mul(slope_x, slope_x, out=norm)
    norm.addcmul_(slope_y, slope_y).sqrt_().mul_(step).add_(1).reciprocal_()
    dual_x.add_(slope_x, alpha=step).mul_(norm)
    dual_y.add_(slope_y, alpha=step).mul_(norm)


def thresholding(
    flow: Tensor,
    dual_x: Tensor,
    dual_y: Tensor,
    gradient: Tensor,
    constant: Tensor,
    inverse: Tensor,
    bound: float,
    theta: float,
) -> Tensor:
    """First half of `iteration` as an expression, arguments as there: u + gradient clamp(residual) + theta div p, (B, 2, H, W)."""
    residual = (constant + gradient[:, :1] * flow[:, :1] + gradient[:, 1:] * flow[:, 1:]) * inverse
    divergence = (
        dual_x - F.pad(dual_x[..., :-1], (1, 0)) + dual_y - F.pad(dual_y[..., :-1, :], (0, 0, 1, 0))
    )
    return flow + gradient * residual.clamp(-bound, bound) + theta * divergence


def projection(flow: Tensor, dual_x: Tensor, dual_y: Tensor, step: float) -> tuple[Tensor, Tensor]:
    """Second half: (p + step grad u) / (1 + step |grad u|), along x and along y, each (B, 2, H, W)."""
    slope_x = F.pad(flow[..., 1:] - flow[..., :-1], (0, 1))
    slope_y = F.pad(flow[..., 1:, :] - flow[..., :-1, :], (0, 0, 0, 1))
    norm = 1 / (1 + step * (slope_x.square() + slope_y.square()).sqrt())
    return (dual_x + step * slope_x) * norm, (dual_y + step * slope_y) * norm


def two_eager_iterations(
    flow, dual_x, dual_y, gradient, constant, inverse, scratch, bound, theta, step
) -> Progress:
    """`iteration` twice, in place, and how far the second moved the flow."""
    iteration(flow, dual_x, dual_y, gradient, constant, inverse, scratch, bound, theta, step)
    before = flow.clone()
    iteration(flow, dual_x, dual_y, gradient, constant, inverse, scratch, bound, theta, step)
    return flow, dual_x, dual_y, 2 * F.mse_loss(flow, before)


def two_iterations(
    flow, dual_x, dual_y, gradient, constant, inverse, bound, theta, step
) -> Progress:
    """The same without changing its arguments: for a compiler, which wants expressions and as few calls as possible."""
    between = thresholding(flow, dual_x, dual_y, gradient, constant, inverse, bound, theta)
    dual_x, dual_y = projection(between, dual_x, dual_y, step)
    flow = thresholding(between, dual_x, dual_y, gradient, constant, inverse, bound, theta)
    return flow, *projection(flow, dual_x, dual_y, step), 2 * F.mse_loss(flow, between)


@cache
def two_fused_iterations() -> Callable:
    """The two iterations compiled into a few kernels, once per process for all sizes; eager where no compiler works."""
    compiled, broken = torch.compile(two_iterations, dynamic=True), False

    def step(flow, dual_x, dual_y, gradient, constant, inverse, scratch, *factors) -> Progress:
        nonlocal broken
        if not broken:
            try:
                return compiled(flow, dual_x, dual_y, gradient, constant, inverse, *factors)
            except (
                torch._dynamo.exc.TorchDynamoException
            ) as error:  # nothing has been changed by then
                print(f"TV-L1 runs uncompiled: {str(error).splitlines()[0]}", flush=True)
                broken = True
        return two_eager_iterations(
            flow, dual_x, dual_y, gradient, constant, inverse, scratch, *factors
        )

    return step


def central_gradient(image: Tensor) -> Tensor:
    """(B, 1, H, W) -> (B, 2, H, W), x then y; half a one-sided difference at the borders."""
    padded = F.pad(image, (1, 1, 1, 1), mode="replicate")
    along_x = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
    along_y = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
    return torch.cat([along_x, along_y], 1)
