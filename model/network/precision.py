"""The number format to compute in."""

import torch


def best_dtype(device: torch.device | str = "cpu") -> torch.dtype:
    """Return bfloat16 where the processor multiplies it natively, else float32.

    Without native instructions bfloat16 is emulated, and slower than float32.
    """
    if torch.device(device).type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float32
    capabilities = torch.cpu.get_capabilities()
    native = ("avx512_bf16", "amx_bf16", "bf16")  # the last is Arm's name
    return torch.bfloat16 if any(capabilities.get(name) for name in native) else torch.float32
