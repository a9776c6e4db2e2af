"""One training over several processes: the same result as one with the same batch.

``torchrun`` starts the processes, each of which learns from its slice of every batch.
What a batch has one of must be that of the whole batch: statistics of normalisation,
counts that means divide by, and CAL's coarse errors. DistributedDataParallel averages
the gradients. In a single process nothing here communicates.
"""

import contextlib
import os
import signal
import time
from collections.abc import Iterator

import torch
import torch.distributed as torch_dist
from mmengine.dist import all_gather, all_reduce, get_world_size
from mmengine.model import MMDistributedDataParallel, is_model_wrapper
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

PATIENCE = 5.0
"""Seconds for which other processes leave it to process 0 to say what is wrong."""


@contextlib.contextmanager
def launched() -> Iterator[None]:
    """Join the processes that torchrun started; without torchrun, nothing.

    What all processes find wrong is said once: process 0 ends at once, on which
    torchrun ends the others. What another alone finds wrong it says a little later.

    Raises:
        ValueError: more processes than GPUs.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        yield
        return
    try:
        _join()
        yield
    except Exception:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a training listens to it
        if int(os.environ.get("RANK", 0)):
            time.sleep(PATIENCE)
        raise
    torch_dist.destroy_process_group()


def _join() -> None:
    """Connect to the other processes, each with a GPU of its own where there are any.

    MMEngine's own way of doing it needs GPUs.
    """
    if torch.cuda.is_available():
        processes, gpus = int(os.environ["LOCAL_WORLD_SIZE"]), torch.cuda.device_count()
        if processes > gpus:
            raise ValueError(
                f"{processes} processes for {gpus} GPUs; expected at most one each: "
                f"torchrun --nproc-per-node {gpus}"
            )
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    # MMEngine would set them too, with a warning from every process.
    for threads in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(threads, "1")
    torch_dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")


def distribute(model: nn.Module) -> nn.Module:
    """The model on this process' device, ready to be trained by all of them.

    A module with ``replicated = True`` learns in every process the same from the same
    numbers; its gradients need no average, and may be missing in some batches.
    """
    if get_world_size() == 1:
        return model
    if torch.cuda.is_available():
        devices = [torch.cuda.current_device()]
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model).to(devices[0])
    else:
        devices = None
        for module in model.modules():
            if type(module) is nn.BatchNorm2d:
                module.__class__ = GlobalBatchNorm2d
    replicated = [
        f"{name}.{parameter}"
        for name, module in model.named_modules()
        if getattr(module, "replicated", False)
        for parameter, _ in module.named_parameters()
    ]
    MMDistributedDataParallel._set_params_and_buffers_to_ignore_for_model(
        model, replicated
    )
    return MMDistributedDataParallel(
        model,
        device_ids=devices,
        # They are equal everywhere: all that they hold is of the whole batch.
        forward_sync_buffers=False,
    )


def unwrapped(model: nn.Module) -> nn.Module:
    """The model itself, whether or not several processes train it."""
    return model.module if is_model_wrapper(model) else model


def shared_count(count: Tensor) -> Tensor:
    """What a process' sum is divided by, so that the processes' average is the mean.

    Args:
        count: number of summands in this process.

    Returns:
        The number of them in all processes (1 if none) divided by the processes.
    """
    if get_world_size() == 1:
        return count.clamp_min(1)
    return global_sum(count).clamp_min(1) / get_world_size()


def global_sum(values: Tensor) -> Tensor:
    """Sum over all processes, without gradient."""
    total = values.detach().clone()
    all_reduce(total)
    return total


def global_batch(values: Tensor) -> Tensor:
    """``(B, ...)`` of all processes as ``(processes * B, ...)``, in the batch's order.

    Without gradient.
    """
    return torch.cat(all_gather(values.contiguous()))


class GlobalBatchNorm2d(_BatchNorm):
    """Batch normalisation by statistics of the whole batch, on the CPU too.

    torch's SyncBatchNorm needs a GPU. Takes a BatchNorm2d's place by a change of its
    class, and has the same state.
    """

    def forward(self, inputs: Tensor) -> Tensor:
        """Normalise ``(B, C, h, w)``; the other processes hold as many."""
        if not self.training:
            return super().forward(inputs)
        axes, count = (0, 2, 3), inputs[:, 0].numel() * get_world_size()
        # Under autocast they are of lower precision than what is summed here.
        values = inputs.to(self.weight.dtype)
        mean = _Sum.apply(values.sum(axes)) / count
        centred = values - mean[:, None, None]
        variance = _Sum.apply(centred.square().sum(axes)) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            unbiased = variance * (count / (count - 1))
            self.running_var.lerp_(unbiased, self.momentum)
        scale = self.weight * (variance + self.eps).rsqrt()
        normalised = centred * scale[:, None, None] + self.bias[:, None, None]
        return normalised.to(inputs.dtype)

    def _check_input_dim(self, inputs: Tensor) -> None:
        """Nothing to check: models hold it in place of a BatchNorm2d."""


class _Sum(torch.autograd.Function):
    """Sum over all processes; its gradient is that of the sum of their losses."""

    @staticmethod
    def forward(ctx, values: Tensor) -> Tensor:
        return global_sum(values)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return global_sum(gradient)
