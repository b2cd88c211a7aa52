"""scikit-learn's contract: a classifier of pictures and their features as a transformer. No torch until it computes."""
