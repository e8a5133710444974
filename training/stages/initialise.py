"""Starting values of a network that is trained from nothing."""

from torch import nn

SPREAD = 0.02  # standard deviation; of ViT's positions and all of GPT-2's matrices


def initialise(network: nn.Module) -> None:
    """Draw every matrix from a truncated normal, with zero biases and neutral norms, in place.

    ViT (Dosovitskiy et al., 2021) and GPT-2 (Radford et al., 2019, section 2.3) share these values. The
    convolutions of a stem keep the spread of what goes through them (He et al., 2015, section 2.2).
    """
    for name, parameter in network.named_parameters():
        if "stem." in name and parameter.ndim == 4:  # normals this narrow would fade in so many layers
            nn.init.kaiming_normal_(parameter, nonlinearity="relu")
        elif parameter.ndim >= 2:
            nn.init.trunc_normal_(parameter, std=SPREAD)
        elif name.endswith("bias"):
            nn.init.zeros_(parameter)
        else:
            nn.init.ones_(parameter)
