import torch

# The models of the tests are tiny: a second thread costs more than it brings, most of all
# where other work shares the cores.
torch.set_num_threads(1)
