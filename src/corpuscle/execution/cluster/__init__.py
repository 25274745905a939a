"""Cluster: artifacts made by the workers of a Dask scheduler, which SLURM's jobs may be; needs the extra ``cluster``.

::

    settings    where the cluster is: an address, or the table of a user's configuration file
    jobs        SLURM's jobs as Dask's workers, by dask-jobqueue
    terms       what a worker must have: versions, files that it sees
    on_worker   what is done in a worker of the cluster: each artifact by a process of its own, as on one machine
    connection  the scheduler, and which of its workers may be used
    pool        what the engine is given: artifacts are sent, news come back
"""
