"""TV-L1 optical flow in torch.

    E(u) = integral of lambda |I1(x + u) - I0(x)| + |grad u|

It is from Zach, Pock, Bischof, "A Duality Based Approach for Realtime TV-L1 Optical Flow", 2007.
The scheme, its constants (but for the number of scales), its borders and its resizing are those of
OpenCV's DualTVL1, which TSN's flow tool and the papers use: an image pyramid; at each scale a few
warps of I1 by the flow so far; after each warp iterations that alternate a thresholding step (data
term) with a step of Chambolle's dual projection (smoothness), with a median filter of the flow now
and then, until the flow hardly changes, looked at after every second one as in OpenCV.
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

# Flow, dual along x, dual along y, and the flow's mean square change.
Progress = tuple[Tensor, Tensor, Tensor, Tensor]


@dataclass(frozen=True)
class TVL1Settings:
    """Name the settings as OpenCV does, with its defaults but for `num_scales`.

    Two scales more than its five follow motion of half as many pixels again, at 1.06 times the cost
    (median error on zoomed frames 0.98 times OpenCV's; with five 1.00 times).

    Args:
        num_scales: of the image pyramid.
        scale_step: from one scale to the next.
        warps: per scale.
        outer_iterations: how often the inner ones are done between two warps, at most.
        inner_iterations: between two median filterings (5 x 5), done two at a time, so that an odd
            number means one more.
        tau: step of the dual projection.
        lambda_: weight of the data term.
        theta: how tightly its auxiliary flow is coupled.
        epsilon: iterating ends when the root mean square change of the flow, over the batch, falls
            below it, in pixels.
        median_filter: on or off.

    Raises:
        ValueError: a count below 1, a factor that is not positive, or `scale_step` not below 1.
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
        wrong = []
        for name in ("num_scales", "warps", "outer_iterations", "inner_iterations"):
            count = getattr(self, name)
            if not isinstance(count, int) or count < 1:
                wrong.append(name)
        for name in ("scale_step", "tau", "lambda_", "theta"):
            if not 0 < getattr(self, name) < float("inf"):
                wrong.append(name)
        if self.scale_step >= 1:
            wrong.append("scale_step")
        if not self.epsilon >= 0:  # not a number, too
            wrong.append("epsilon")
        if wrong:
            raise ValueError(
                f"TV-L1: {wrong[0]}={getattr(self, wrong[0])} (counts from 1, factors above 0, "
                "scale_step below 1)"
            )


def tvl1_flow(previous: Tensor, following: Tensor, fused: bool | None = None, **settings) -> Tensor:
    """Return the flow that carries `previous` onto `following`.

        previous(x) = following(x + flow(x))

    Args:
        previous: grey frames (B, H, W), float in [0, 255], any device. All pairs of the batch are
            worked on together: the CPU is fastest with B = 1 (it stays in the cache), a GPU with as
            many as fit.
        following: the frames after them, alike.
        fused: compile the inner iteration; by default on a GPU. On a CPU it needs a C++ compiler
            and ten seconds the first time; then it takes 0.7 of the time of eager, 0.4 where every
            core works (memory is what eager waits for).
        settings: fields of `TVL1Settings`.

    Returns:
        (B, 2, H, W) in pixels, x then y. Zero where nothing can be told (constant frames).

    Raises:
        ValueError: shapes differ or are not (B, H, W), no pair, a side is under 16 px, values are
            not finite floats.
    """
    check_frames(previous, following)
    options = replace(TVL1Settings(), **settings)
    if fused is None:
        fused = previous.is_cuda
    step = two_fused_iterations() if fused else two_eager_iterations
    with torch.inference_mode():
        images = pyramid(torch.stack([previous, following], 1).float(), options)
        flow = torch.zeros_like(images[-1])
        for image in reversed(images):
            if flow.shape[-2:] != image.shape[-2:]:
                flow = F.interpolate(flow, image.shape[-2:], mode="bilinear") / options.scale_step
            flow = flow_at_scale(image[:, :1], image[:, 1:], flow, options, step)
    return flow.clone()  # outside of inference mode: an ordinary tensor


def check_frames(previous: Tensor, following: Tensor) -> None:
    """Raise ValueError for what `tvl1_flow` does not take."""
    if previous.ndim != 3 or previous.shape != following.shape or not len(previous):
        raise ValueError(
            "tvl1_flow takes two alike (B > 0, H, W) tensors, "
            f"not {tuple(previous.shape)} and {tuple(following.shape)}"
        )
    size = tuple(previous.shape[1:])
    if min(size) < SMALLEST_SIDE_PX:
        raise ValueError(f"frames of {size} px: both sides must be at least {SMALLEST_SIDE_PX} px")
    for name, frames in (("previous", previous), ("following", following)):
        if not frames.is_floating_point():
            raise ValueError(
                f"{name} is {frames.dtype}; give floats in [0, 255], as frames.float()"
            )
        if not torch.isfinite(frames).all():
            raise ValueError(f"{name} holds values that are not finite")


def pyramid(images: Tensor, options: TVL1Settings) -> list[Tensor]:
    """Return images (B, C, H, W) at every scale, finest first."""
    scales = [images]
    for _ in range(options.num_scales - 1):
        size = [round(side * options.scale_step) for side in scales[-1].shape[-2:]]
        if min(size) < SMALLEST_SIDE_PX:
            break
        # So that sizes can be rounded up at exactly this step.
        padded = F.pad(scales[-1], (0, 2, 0, 2), mode="replicate")
        small = F.interpolate(
            padded, scale_factor=options.scale_step, mode="bilinear", recompute_scale_factor=False
        )
        scales.append(small[..., : size[0], : size[1]].contiguous())
    return scales


def flow_at_scale(
    previous: Tensor, following: Tensor, flow: Tensor, options: TVL1Settings, step: Callable
) -> Tensor:
    """Refine `flow` (B, 2, H, W) between images (B, 1, H, W) of one scale."""
    # The dual of each flow component, along x and along y.
    dual_x = torch.zeros_like(flow)
    dual_y = torch.zeros_like(flow)
    scratch = [torch.zeros_like(flow) for _ in range(4)]
    factors = (options.lambda_ * options.theta, options.theta, options.tau / options.theta)
    stack = torch.cat([following, central_gradient(following)], 1)
    for _ in range(options.warps):
        warped = warp(stack, flow)
        gradient = warped[:, 1:].contiguous()
        # The residual is constant + gradient . u
        constant = warped[:, :1] - previous - (gradient * flow).sum(1, keepdim=True)
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
    flow: Tensor,
    dual_x: Tensor,
    dual_y: Tensor,
    gradient: Tensor,
    constant: Tensor,
    inverse: Tensor,
    scratch: list[Tensor],
    bound: float,
    theta: float,
    step: float,
) -> None:
    """Do one thresholding and one projection step; change `flow` and the dual in place.

    It makes no temporaries: in eager mode on a CPU allocating them takes longer than computing
    them.

    Args:
        flow: u (B, 2, H, W).
        dual_x: the dual of both components along x (B, 2, H, W).
        dual_y: the dual along y.
        gradient: of the warped image (B, 2, H, W).
        constant: of the linearised residual (B, 1, H, W).
        inverse: -1 / |gradient|^2, zero where there is no gradient.
        scratch: memory of four flows; the last column of the first and the last row of the second
            are zero and stay so.
        bound: lambda theta.
        theta: as in `TVL1Settings`.
        step: tau / theta.
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
    """Return the first half of `iteration` as an expression, arguments as there.

    u + gradient clamp(residual) + theta div p          (B, 2, H, W)
    """
    residual = (constant + gradient[:, :1] * flow[:, :1] + gradient[:, 1:] * flow[:, 1:]) * inverse
    divergence = (
        dual_x - F.pad(dual_x[..., :-1], (1, 0)) + dual_y - F.pad(dual_y[..., :-1, :], (0, 0, 1, 0))
    )
    return flow + gradient * residual.clamp(-bound, bound) + theta * divergence


def projection(flow: Tensor, dual_x: Tensor, dual_y: Tensor, step: float) -> tuple[Tensor, Tensor]:
    """Return the second half, along x and along y, each (B, 2, H, W).

    (p + step grad u) / (1 + step |grad u|)
    """
    slope_x = F.pad(flow[..., 1:] - flow[..., :-1], (0, 1))
    slope_y = F.pad(flow[..., 1:, :] - flow[..., :-1, :], (0, 0, 0, 1))
    length = (slope_x.square() + slope_y.square()).sqrt()
    norm = 1 / (1 + step * length)
    new_x = (dual_x + step * slope_x) * norm
    new_y = (dual_y + step * slope_y) * norm
    return new_x, new_y


def two_eager_iterations(
    flow, dual_x, dual_y, gradient, constant, inverse, scratch, bound, theta, step
) -> Progress:
    """Do `iteration` twice, in place, and return how far the second moved the flow, too."""
    iteration(flow, dual_x, dual_y, gradient, constant, inverse, scratch, bound, theta, step)
    before = flow.clone()
    iteration(flow, dual_x, dual_y, gradient, constant, inverse, scratch, bound, theta, step)
    return flow, dual_x, dual_y, 2 * F.mse_loss(flow, before)


def two_iterations(
    flow, dual_x, dual_y, gradient, constant, inverse, bound, theta, step
) -> Progress:
    """Do the same without changing the arguments.

    This is for a compiler, which wants expressions and as few calls as possible.
    """
    between = thresholding(flow, dual_x, dual_y, gradient, constant, inverse, bound, theta)
    dual_x, dual_y = projection(between, dual_x, dual_y, step)
    flow = thresholding(between, dual_x, dual_y, gradient, constant, inverse, bound, theta)
    return flow, *projection(flow, dual_x, dual_y, step), 2 * F.mse_loss(flow, between)


@cache
def two_fused_iterations() -> Callable:
    """Return the two iterations compiled into a few kernels, once per process for all sizes.

    They are eager where no compiler works.
    """
    compiled = torch.compile(two_iterations, dynamic=True)
    broken = False

    def step(flow, dual_x, dual_y, gradient, constant, inverse, scratch, *factors) -> Progress:
        nonlocal broken
        if not broken:
            try:
                return compiled(flow, dual_x, dual_y, gradient, constant, inverse, *factors)
            except torch._dynamo.exc.TorchDynamoException as error:
                # Nothing has been changed by then.
                print(f"TV-L1 runs uncompiled: {str(error).splitlines()[0]}", flush=True)
                broken = True
        return two_eager_iterations(
            flow, dual_x, dual_y, gradient, constant, inverse, scratch, *factors
        )

    return step


def central_gradient(image: Tensor) -> Tensor:
    """Return the gradient (B, 2, H, W), x then y, of an image (B, 1, H, W).

    At the borders it is half a one-sided difference.
    """
    padded = F.pad(image, (1, 1, 1, 1), mode="replicate")
    along_x = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
    along_y = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
    return torch.cat([along_x, along_y], 1)
