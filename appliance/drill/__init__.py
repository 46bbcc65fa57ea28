"""Breaking a scheduler on purpose, with a verdict to trust and a report to file: `luigi-ha drill`.

    place    where it happens: two nodes on this machine (pair), a cluster in namespaces (cluster)
    faults   what is done to it; each proves that it bit
    rounds   one fault under load: callers that record each call, a pipeline of stock luigi
    judge    what the records of a round say; from the records alone, so that anybody can judge again
    report   the records' hashes, the verdict, signed and chained to the report before; a page for people

Nothing of the product imports this.
"""
