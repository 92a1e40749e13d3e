"""Flask-Rooms beside other libraries: each file needs one of them, and nothing else."""
