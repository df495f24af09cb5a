"""Parts of a model that are not trained: pretrained encoders."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable


class Frozen(nn.Module):
    """A part that stays as it is: in eval mode, without gradients of its weights.

    ``nn.Module`` does not see it as a submodule. So it is in no checkpoint and no moving average
    (whose copy of the model shares it), it counts among no parameters, and ranks exchange nothing
    of it: every rank, and every program that loads the checkpoint, must build it with the same
    weights. It moves between devices with the model. Gradients flow through it to its input.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        # A tuple, for a module in an attribute of its own would be registered.
        self._hidden = (module.eval().requires_grad_(requires_grad=False),)

    @property
    def module(self) -> nn.Module:
        """The part itself."""
        return self._hidden[0]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the part returns."""
        return self.module(*args, **kwargs)

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Frozen:  # noqa: FBT001, FBT002 - torch's
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.module._apply(fn, recurse)  # noqa: SLF001
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Frozen:
        return self
