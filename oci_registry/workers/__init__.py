"""Worker processes: they accept connections and answer plain hits; the core process decides all else."""
