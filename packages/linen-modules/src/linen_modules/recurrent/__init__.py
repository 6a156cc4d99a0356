"""Recurrent layers: cells, which do one step, and `RNN`, which loops them over sequences."""

from linen_modules.recurrent.bidirectional import Bidirectional
from linen_modules.recurrent.cell import RNNCellBase
from linen_modules.recurrent.conv_lstm import ConvLSTMCell
from linen_modules.recurrent.gru import GRUCell
from linen_modules.recurrent.lstm import LSTMCell, OptimizedLSTMCell
from linen_modules.recurrent.mgu import MGUCell
from linen_modules.recurrent.recurrence import Recurrence
from linen_modules.recurrent.rnn import RNN
from linen_modules.recurrent.sequences import flip_sequences
from linen_modules.recurrent.simple import SimpleCell

__all__ = [
    "Bidirectional",
    "ConvLSTMCell",
    "GRUCell",
    "LSTMCell",
    "MGUCell",
    "OptimizedLSTMCell",
    "RNN",
    "RNNCellBase",
    "Recurrence",
    "SimpleCell",
    "flip_sequences",
]
