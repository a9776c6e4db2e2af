"""Go on after a kill: the training's state after each epoch, whole or not at all.

MMEngine writes checkpoints in place and removes the old one first, so that a kill in
between loses both; and it stores objects that torch.load refuses to read safely. Here
the state is tensors and plain numbers, written aside, synced and renamed, the last two
kept.
"""

import os
from pathlib import Path

import torch
from mmengine.dist import broadcast, is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from plugins.distributed import unwrapped
from plugins.hooks.history import HistoryHook

KEPT = 2


@HOOKS.register_module()
class ResumeHook(Hook):
    """Saves after each epoch, after all other hooks, and restores before the first.

    Where several processes train, the first one saves and all restore the same state;
    it does not say how many they were, so that other numbers may go on with it.

    Args:
        folder: where the states are; belongs to one configuration alone.
        history: whose rows go with the state.
    """

    priority = "LOWEST"

    def __init__(self, folder: Path, history: HistoryHook) -> None:
        self.folder, self.history = Path(folder), history

    def before_train(self, runner: Runner) -> None:
        """Restore the newest state that can be read.

        Raises:
            ValueError: not every process finds that state.
        """
        say = print if is_main_process() else lambda line: None
        for path in self._states():
            try:
                state = torch.load(path, map_location="cpu", weights_only=True)
            except Exception as error:  # a truncated file raises many kinds
                say(f"{path.name} cannot be read ({error}); trying the one before")
                continue
            self._restore(runner, state)
            say(f"going on after epoch {runner.epoch} of {runner.max_epochs}")
            break
        first = torch.tensor(runner.epoch)
        broadcast(first)
        if runner.epoch != first:
            raise ValueError(
                f"processes go on from epochs {int(first)} and {runner.epoch}; "
                f"{self.folder} must be one folder for all of them"
            )

    def after_train_epoch(self, runner: Runner) -> None:
        """Save the state and remove all but the last two."""
        if not is_main_process():
            return
        epoch, cuda = runner.epoch + 1, torch.cuda.is_available()
        state = {
            "epoch": epoch,
            "iteration": runner.iter,
            "model": unwrapped(runner.model).state_dict(),
            "optimizer": runner.optim_wrapper.state_dict(),
            "schedulers": [s.state_dict() for s in runner.param_schedulers or []],
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state() if cuda else None,
            "history": self.history.rows,
        }
        path = self.folder / f"epoch_{epoch:05d}.pth"
        save_checkpoint(state, path)
        for old in self._states()[KEPT:]:
            old.unlink()

    def _states(self) -> list[Path]:
        return sorted(self.folder.glob("epoch_*.pth"), reverse=True)

    def _restore(self, runner: Runner, state: dict) -> None:
        unwrapped(runner.model).load_state_dict(state["model"])
        runner.optim_wrapper.load_state_dict(state["optimizer"])
        for scheduler, saved in zip(
            runner.param_schedulers or [], state["schedulers"], strict=True
        ):
            scheduler.load_state_dict(saved)
        torch.set_rng_state(state["random"])
        if torch.cuda.is_available():
            torch.cuda.set_rng_state(state["random_cuda"])
        runner.train_loop._epoch = state["epoch"]
        runner.train_loop._iter = state["iteration"]
        self.history.rows[:] = state["history"]


def save_checkpoint(state: dict, path: Path) -> None:
    """``torch.save`` to a file beside ``path``, synced, then renamed to it."""
    aside = path.with_name(f".{path.name}.partial")
    with open(aside, "wb") as handle:
        torch.save(state, handle)
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(aside, path)
