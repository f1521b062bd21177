"""Pure computation: signals, features, models, codes, metrics. Arrays in, arrays out."""
