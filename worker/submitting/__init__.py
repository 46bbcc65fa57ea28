"""`luigi-ha submit`: a pipeline described by luigi, held by the scheduler, run by workers, and waited for."""
