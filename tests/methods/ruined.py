"""Methods whose nets are worth nothing."""

from __future__ import annotations

import torch


def ruined(parent):
    """Return a method that learns as another does, and then forgets it all."""

    class Ruined(parent):
        def _learn(self, session):
            network = super()._learn(session)
            with torch.no_grad():
                for parameter in network.parameters():
                    parameter.zero_()
            return network

    return Ruined
