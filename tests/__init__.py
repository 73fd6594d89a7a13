"""Tests: a folder for each folder of dtrain, and mpi/ for those under mpirun."""
