"""A suite of many small real tasks, cut from free packages."""
