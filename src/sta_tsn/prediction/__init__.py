"""Videos of one's own: what a trained checkpoint says of them."""

from sta_tsn.prediction.predictor import Model, load
from sta_tsn.prediction.results import ClassProbability, Prediction, Segment

__all__ = ["ClassProbability", "Model", "Prediction", "Segment", "load"]
