"""Known hashing methods on given features, to compare ours with (METHOD 5).

``registry.BASELINES["itq"].fit(TrainingItems(features), n_bits=64, seed=0).logits(others)`` gives
logits whose signs are codes. All methods get the same features, standardised alike; the deep ones
share network and training and differ in the loss alone. Importing the package loads none of them:
our own models use a part of it in every worker.
"""
