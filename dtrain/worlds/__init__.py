"""The ranks that train together: processes under MPI, threads, or one process."""
