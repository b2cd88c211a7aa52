"""HDF5 as Keras writes it, read within limits."""
