"""HDF5 as Keras writes it, read in bounds."""
