"""What people did before: a file per tensor, by `torch.save`, compared by `torch.allclose`."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy.typing as npt


def save(value: npt.NDArray[Any], path: Path) -> None:
    """Save an array as a tensor."""
    import torch  # noqa: PLC0415 - only who compares by hand has it

    torch.save(torch.from_numpy(value), path)


def close(a: Path, b: Path, tolerances: Iterable[tuple[float, float]]) -> list[bool]:
    """Load two tensors and say under which tolerances, each an atol and an rtol, they are close."""
    import torch  # noqa: PLC0415 - as above

    left, right = torch.load(a), torch.load(b)
    return [torch.allclose(left, right, atol=atol, rtol=rtol) for atol, rtol in tolerances]
