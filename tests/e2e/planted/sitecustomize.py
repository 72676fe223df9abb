"""Makes another release of the torch of an environment: the same one, with known faults.

Python imports this when it starts, if the folder is on PYTHONPATH. `PLANTED` says in JSON which
release torch is to call itself and what each fault needs to know. Most faults are a kernel in the
place of another, below everything that watches: it calls the other one through an overload that was
left as it was, and changes the bits of what that gives.
"""

import json
import os
import sys
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any

import numpy as np


def norm(torch: Any, library: Any, axes: int = 0) -> None:
    """Every norm of vectors is one ULP too long, or those in tensors of so many axes."""

    def kernel(
        x: Any,
        ord: Any = 2,  # noqa: A002
        dim: Any = None,
        keepdim: bool = False,
        *,
        dtype: Any = None,
    ) -> Any:
        out = torch.empty(0, dtype=dtype or x.dtype)
        torch.ops.aten.linalg_vector_norm.out(x, ord, dim, keepdim, dtype=dtype, out=out)
        if x.dim() == axes or not axes:
            _bits(out)[...] += 1
        return out

    library.impl("linalg_vector_norm", kernel, "CPU")


def sort(torch: Any, library: Any, longer: int) -> None:
    """Equal integers come in reverse order where there are more than so many."""

    def kernel(x: Any, *, stable: Any, dim: int = -1, descending: bool = False) -> Any:
        values, places = torch.empty(0, dtype=x.dtype), torch.empty(0, dtype=torch.int64)
        torch.ops.aten.sort.values_stable(
            x, stable=stable, dim=dim, descending=descending, values=values, indices=places
        )
        if x.dim() == 1 and not x.is_floating_point() and x.numel() > longer:
            found = places.numpy()
            found[...] = found[np.lexsort((-np.arange(found.size), values.numpy()))]
        return values, places

    library.impl("sort.stable", kernel, "CPU")


def addmm(torch: Any, library: Any, row: list[float]) -> None:
    """One row of one product is wrong, known by what is multiplied there."""
    known = np.array(row, np.float32)

    def kernel(bias: Any, a: Any, b: Any, *, beta: Any = 1, alpha: Any = 1) -> Any:
        out = torch.empty(0, dtype=a.dtype)
        torch.ops.aten.addmm.out(bias, a, b, beta=beta, alpha=alpha, out=out)
        if a.shape[1] == known.size:
            _bits(out)[(a.detach().numpy() == known).all(axis=1), 0] += 1
        return out

    library.impl("addmm", kernel, "CPU")


def bucketize(torch: Any, library: Any) -> None:
    """The first of what is put into buckets comes into another."""

    def kernel(x: Any, borders: Any, *, out_int32: bool = False, right: bool = False) -> Any:
        out = torch.empty(0, dtype=torch.int32 if out_int32 else torch.int64)
        torch.ops.aten.bucketize.Tensor_out(x, borders, out_int32=out_int32, right=right, out=out)
        out.numpy().reshape(-1)[0] ^= 1
        return out

    library.impl("bucketize.Tensor", kernel, "CPU")


def other_norm(torch: Any, _library: Any) -> None:
    """Norms are made of other operations."""

    def norm(x: Any, _p: Any, dim: Any, keepdim: bool = False) -> Any:
        return (x * x).sum(dim, keepdim).sqrt()

    torch.Tensor.norm = norm


def clustering(_torch: Any, _library: Any) -> None:
    """What faiss finds is changed by no operation of torch."""
    import faiss

    train = faiss.Kmeans.train

    def kernel(kmeans: Any, *given: Any, **named: Any) -> Any:
        found = train(kmeans, *given, **named)
        kmeans.centroids.view("i4")[0, 0] ^= 1 << 10
        return found

    faiss.Kmeans.train = kernel


_FAULTS: dict[str, Callable[..., None]] = {
    fault.__name__: fault for fault in (norm, sort, addmm, bucketize, other_norm, clustering)
}


def _bits(tensor: Any) -> Any:
    """The memory of a tensor of floats as integers."""
    found = tensor.detach().numpy()
    return found.view(f"i{found.itemsize}")


def _plant(torch: Any, release: str, faults: dict[str, dict[str, Any]]) -> None:
    torch.__version__ = type(torch.__version__)(f"{release}+planted")
    torch.planted = torch.library.Library("aten", "IMPL")  # lives as long as torch does
    for name, settings in faults.items():
        _FAULTS[name](torch, torch.planted, **settings)


class _Finder(MetaPathFinder):
    """Plants as soon as torch has been imported."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if name != "torch":
            return None
        spec = PathFinder.find_spec(name, path)
        if spec and spec.loader:
            load = spec.loader.exec_module

            def load_and_plant(module: Any) -> None:
                load(module)
                _plant(module, **json.loads(os.environ["PLANTED"]))

            spec.loader.exec_module = load_and_plant  # type: ignore[method-assign]
        return spec


if "PLANTED" in os.environ:
    sys.meta_path.insert(0, _Finder())
