"""What training tools put into tensors' names: wrappers, which are looked through, and states that are no weights."""

import re

WRAPPERS = frozenset(
    {
        *("_fsdp_wrapped_module", "_fpw_module", "_checkpoint_wrapped_module", "_orig_mod", "module", "base_layer"),
        *("_forward_module", "_wrapped_module", "original_module"),
    }
)
"""Modules that hold another one and change nothing: FSDP's, activation checkpoints', `torch.compile`'s, data
parallelism's, peft's and Lightning's. They may stand anywhere in a name."""

_STATE = re.compile(
    r"(?:max_)?exp_avg\w*|exp_inf|square_avgs?|acc_delta|sum_of_squares|momentum(?:_buffers?|s|_?\d)?"
    r"|(?:first|second)_moments?|moments?_?[12]?|mu|nu|adam[wx]?(?:_\w+)?|state[12]|hessians?|fisher(?:_\w+)?|precond\w*"
    r"|(?:\w+_)?grad(?:s|ients?|_\w+)?|gradients?|(?:\w+_)?optim(?:izers?)?(?:_?states?)?(?:_dict)?|opt_?states?(?:_dict)?"
)
"""A part of a name that makes it an optimiser's state or a gradient: Adam's, SGD's, Adadelta's, optax's, those of
bitsandbytes (`state1`), second-order methods' statistics; and what torch and DeepSpeed keep them under."""


def is_wrapped(name: str) -> bool:
    """Whether a name may have a wrapper in it: most have none, and that is seen at once."""
    return "mod" in name.replace("model", "") or "base_layer" in name


def unwrapped(name: str) -> str:
    """A tensor's name without the wrappers in it."""
    if not is_wrapped(name):
        return name
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def state_in(name: str) -> str:
    """What makes a tensor an optimiser's state or a gradient, such as `exp_avg`; empty for weights."""
    return next((part for part in re.split(r"[./:|\[\]]+", name) if _STATE.fullmatch(part.lower())), "")
