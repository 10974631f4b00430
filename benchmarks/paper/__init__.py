"""The studies of Dube et al. 2018, each made again by one command."""
