"""What the sessions of the noxfile share: the matrix, options, environments."""
