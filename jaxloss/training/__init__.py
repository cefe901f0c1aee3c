"""Training: the compiled step, when to stop, and the loop around both."""

from jaxloss.training import convergence as convergence
from jaxloss.training.checkpointing import Checkpoints as Checkpoints
from jaxloss.training.counting import ClassCounts as ClassCounts
from jaxloss.training.counting import count_classes as count_classes
from jaxloss.training.counting import over_processes as over_processes
from jaxloss.training.fitting import Fit as Fit
from jaxloss.training.fitting import fit as fit
from jaxloss.training.sampling import balanced_rows as balanced_rows
from jaxloss.training.sampling import shuffled_rows as shuffled_rows
from jaxloss.training.state import StepReport as StepReport
from jaxloss.training.state import TrainState as TrainState
from jaxloss.training.state import TrainStep as TrainStep
from jaxloss.training.stepping import make_train_step as make_train_step
