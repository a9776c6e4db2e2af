"""Go on after a kill, from a state that is saved every few seconds and on SIGTERM."""

import signal
import time
from pathlib import Path

import torch
from mmengine.dist import all_reduce, broadcast, get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from plugins.distributed import global_sum, unwrapped
from plugins.hooks.history import HistoryHook
from plugins.hooks.states import load_state, save_state

LARGEST_SHARE = 0.02
"""Of the training's time, that saving may take where a state is large."""
ASK_EVERY = 10
"""Steps after which several processes ask one another: each time the devices wait."""
ENDED = "ended by SIGTERM; the same command goes on from here"


@HOOKS.register_module()
class ResumeHook(Hook):
    """Saves after all other hooks, and restores before the first step.

    A state holds all that the rest of the training depends on, random draws included,
    so that it ends with the same weights wherever it went on (on a CPU; a GPU's kernels
    may add up in another order from run to run). On SIGTERM the state is
    saved and the process ends. The last epoch's state is always saved.

    Where several processes train, the first one saves, and all restore the same state;
    it does not say how many they were, so that other numbers may go on with it. Every
    ASK_EVERY steps they agree whether to save, and end together after any one's
    SIGTERM: well within the 30 s that torchrun leaves them.

    Args:
        folder: where the states are; belongs to one configuration alone.
        history: whose rows go with the state.
        every: seconds of training between two states: what a kill may lose. 0: after
            each step.
    """

    priority = "LOWEST"

    def __init__(self, folder: Path, history: HistoryHook, every: float) -> None:
        self.folder, self.history, self.every = Path(folder), history, every
        self.pause, self.told, self.stopped = every, False, False
        self.unfinished: dict | None = None

    def before_train(self, runner: Runner) -> None:
        """Restore the newest state, and listen to SIGTERM.

        Raises:
            ValueError: not every process finds that state.
        """
        say = print if is_main_process() else lambda line: None
        state = load_state(self.folder, say)
        if state is not None:
            self._restore(runner, state)
            batches = state["batches"]
            more = f" and {batches} batches" if batches else ""
            say(f"going on after epoch {runner.epoch} of {runner.max_epochs}{more}")
        self._compare_processes(runner)
        self.saved = time.monotonic()
        self.before = signal.signal(signal.SIGTERM, self._stop)

    def before_train_epoch(self, runner: Runner) -> None:
        """Go on inside the epoch, after other hooks have begun it."""
        if self.unfinished is not None:
            runner.train_dataloader.sampler.done = self.unfinished["batches"]
            self.history.go_on(runner, self.unfinished["epoch_so_far"])

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None):
        """Random draws go on here, since the loader draws a number when it starts."""
        if self.unfinished is not None:
            _set_random(self.unfinished)
            self.unfinished = None

    def after_train_iter(self, runner: Runner, batch_idx: int, *_, **__) -> None:
        """Save inside the epoch if it is time; its end is for after_train_epoch."""
        loader = runner.train_dataloader
        batches = loader.sampler.done + batch_idx + 1
        ask = get_world_size() == 1 or batches % ASK_EVERY == 0
        if ask and batches < len(loader) and self._is_time():
            self._save(runner, runner.epoch, batches, runner.iter + 1)

    def after_train_epoch(self, runner: Runner) -> None:
        """Save if it is time, and after the last epoch."""
        epochs = runner.epoch + 1
        if self._is_time() or epochs == runner.max_epochs:
            self._save(runner, epochs, 0, runner.iter)

    def after_train(self, runner: Runner) -> None:
        """SIGTERM is again what it was."""
        signal.signal(signal.SIGTERM, self.before)

    def _stop(self, number: int, frame: object) -> None:
        """The first SIGTERM waits for the step's end, the second does not.

        torchrun's processes get several: it passes on what their group got too.
        """
        self.told = True
        if get_world_size() == 1:
            signal.signal(number, signal.SIG_DFL)

    def _is_time(self) -> bool:
        """Whether to save, and whether to stop then; the same in all processes."""
        due = is_main_process() and time.monotonic() - self.saved >= self.pause
        wish = 2 if self.told else int(due)
        if get_world_size() > 1:
            wishes = torch.tensor(wish)
            all_reduce(wishes, "max")
            wish = int(wishes)
        self.stopped = wish == 2
        return wish > 0

    def _save(self, runner: Runner, epochs: int, batches: int, steps: int) -> None:
        started = time.monotonic()
        so_far = self._so_far() if batches else None
        if is_main_process():
            state = self._state(runner, epochs, batches, steps)
            save_state(state | {"epoch_so_far": so_far}, self.folder, epochs, batches)
        self.saved = time.monotonic()
        if self.every:
            self.pause = max(self.every, (self.saved - started) / LARGEST_SHARE)
        if self.stopped:
            if is_main_process():
                print(ENDED, flush=True)
            raise SystemExit(128 + signal.SIGTERM)

    def _so_far(self) -> dict:
        """Of all processes; each of those that go on takes it for its own."""
        so_far = self.history.so_far()
        return so_far | {"loss": global_sum(so_far["loss"]) / get_world_size()}

    def _state(self, runner: Runner, epochs: int, batches: int, steps: int) -> dict:
        cuda = torch.cuda.is_available()
        return {
            "epoch": epochs,
            "batches": batches,
            "iteration": steps,
            "model": unwrapped(runner.model).state_dict(),
            "optimizer": runner.optim_wrapper.state_dict(),
            "schedulers": [s.state_dict() for s in runner.param_schedulers or []],
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state() if cuda else None,
            "history": self.history.rows,
        }

    def _restore(self, runner: Runner, state: dict) -> None:
        unwrapped(runner.model).load_state_dict(state["model"])
        runner.optim_wrapper.load_state_dict(state["optimizer"])
        for scheduler, saved in zip(
            runner.param_schedulers or [], state["schedulers"], strict=True
        ):
            scheduler.load_state_dict(saved)
        _set_random(state)
        runner.train_loop._epoch = state["epoch"]
        runner.train_loop._iter = state["iteration"]
        self.history.rows[:] = state["history"]
        self.unfinished = state if state["batches"] else None

    def _compare_processes(self, runner: Runner) -> None:
        first = torch.tensor(runner.iter)
        broadcast(first)
        if runner.iter != first:
            raise ValueError(
                f"processes go on from steps {int(first)} and {runner.iter}; "
                f"{self.folder} must be one folder for all of them"
            )


def _set_random(state: dict) -> None:
    torch.set_rng_state(state["random"])
    if torch.cuda.is_available() and state["random_cuda"] is not None:
        torch.cuda.set_rng_state(state["random_cuda"])
